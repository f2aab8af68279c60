"""The ledger of one sweep as the rest of the program sees it: reads at once, writes by way of the spool."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from orchestrator.errors import LedgerError
from orchestrator.ledger.changes import Applier
from orchestrator.ledger.endings import close_running
from orchestrator.ledger.lease import Lease
from orchestrator.ledger.location import StoreLocation
from orchestrator.ledger.lock import FolderLock
from orchestrator.ledger.mlflow_store import MlflowStore, StoreAwayError, WriteRefusedError
from orchestrator.ledger.reporting import Reporting
from orchestrator.ledger.run_ids import Target
from orchestrator.ledger.spool import Spool, SpoolEntry
from orchestrator.ledger.sweep_reader import SweepReader
from orchestrator.ledger.writer import Writer


@dataclass
class Driving:
    """What only the driver has."""

    lock: FolderLock
    spool: Spool
    lease: Lease
    applier: Applier
    writer: Writer
    known: set[Target]
    notes: list[str]
    """What opening had to put right, in words."""


class Ledger(Reporting, SweepReader):
    """A sweep in MLflow. Made by `open_ledger`.

    Writing calls return as soon as the event is safe on the local disk; one thread tells MLflow. They raise a
    LedgerError where the ledger was opened for reading or another driver has taken the sweep over.
    """

    def __init__(
        self,
        location: StoreLocation,
        sweep_name: str,
        *,
        store: MlflowStore | None = None,
        driving: Driving | None = None,
    ) -> None:
        SweepReader.__init__(self, location, sweep_name, store)
        self._driving = driving
        self._touched: set[Target] = set()
        self._closed = False
        self._gathered = threading.local()

    @property
    def is_driving(self) -> bool:
        return self._driving is not None and not self._closed

    @property
    def problems(self) -> tuple[str, ...]:
        """What MLflow refused for good, in words; the events are kept in the spool's folder."""
        return tuple(self._driving.writer.problems) if self._driving else ()

    @property
    def away(self) -> str:
        """Why MLflow cannot be written just now; "" while it can."""
        return self._driving.writer.away if self._driving else ""

    @property
    def waiting(self) -> int:
        """Events that are safe on the local disk and not told to MLflow yet."""
        return self._driving.spool.waiting if self._driving else 0

    def _drive(self) -> Driving:
        if self._driving is None:
            raise LedgerError("this ledger was opened for reading; open it with mode 'drive' to write")
        if self._driving.writer.lost is not None:
            raise self._driving.writer.lost
        if self._closed:
            raise LedgerError("this ledger is closed")
        return self._driving

    def _require(self, target: Target) -> None:
        if target not in self._drive().known:
            made_by = "ensure_cell" if target[0] == "cell" else "start_run"
            raise LedgerError(f"there is no {target[0]} {target[1]!r} in this ledger yet; call {made_by} first")

    def _append(self, kind: str, target: Target, data: Mapping[str, Any], *, birth: bool = False) -> None:
        driving = self._drive()
        if not birth:
            self._require(target)
        driving.known.add(target)
        self._touched.add(target)
        event = (kind, {"role": target[0], "id": target[1], **data})
        gathered: list[SpoolEntry] | None = getattr(self._gathered, "events", None)
        if gathered is None:
            self._write_down([event])
        else:
            gathered.append(event)

    @contextmanager
    def together(self) -> Iterator[None]:
        """What this thread reports inside is written down when the block is left, however it is left, by one fsync."""
        if getattr(self._gathered, "events", None) is not None:
            yield
            return
        gathered: list[SpoolEntry] = []
        self._gathered.events = gathered
        try:
            yield
        finally:
            self._gathered.events = None
            if gathered:
                self._write_down(gathered)

    def _write_down(self, events: list[SpoolEntry]) -> None:
        driving = self._drive()
        try:
            driving.spool.append(events)
        except OSError as error:
            raise LedgerError(
                f"the spool {self.location.spool_dir} cannot be written: {error}. Free disk space."
            ) from error
        except (TypeError, ValueError) as error:
            if driving.writer.lost is not None:
                raise driving.writer.lost from error
            if len(events) > 1:
                self._write_down_singly(events)
                return
            kind, data = events[0]
            raise LedgerError(f"{kind} of {data['id']!r} cannot be written as JSON: {error}") from error

    def _write_down_singly(self, events: list[SpoolEntry]) -> None:
        """The others must not be lost with one that is no JSON, whether they come before or after it."""
        problem: LedgerError | None = None
        for event in events:
            try:
                self._write_down([event])
            except LedgerError as error:
                problem = problem or error
        if problem is not None:
            raise problem

    def reconcile(self) -> list[str]:
        """End runs that an earlier driver left RUNNING; say what was done. Call before starting anything."""
        driving = self._drive()
        self.flush()
        notes, driving.notes = driving.notes, []
        return notes + close_running(self._open_store(), driving, self.cells(), self._touched, ending=False)

    def flush(self, timeout_s: float = 60.0) -> None:
        """Wait until MLflow has everything.

        Raises:
            LedgerError: not within `timeout_s`; nothing is lost, the next start goes on from the spool.
        """
        driving = self._drive()
        if not driving.spool.wait_until_told(timeout_s, lambda: driving.writer.lost is not None):
            self._drive()
            raise LedgerError(
                f"MLflow at {self.tracking_uri} has not taken {driving.spool.waiting} events within {timeout_s:g} s "
                f"({driving.writer.away or 'it is slow'}). They are safe in {self.location.spool_dir}: the same "
                "command writes them when MLflow answers again."
            )

    def close(self, timeout_s: float = 60.0) -> None:
        """Tell MLflow everything, end what is still RUNNING, and let the next driver in.

        Raises:
            LedgerError: MLflow does not answer, or another driver has taken over; the lock is given back all the same.
        """
        driving = self._driving
        if driving is None or self._closed:
            return
        with ExitStack() as leaving:  # from the last to the first, each of them whatever becomes of the others
            leaving.callback(lambda: self._open_store().close())
            leaving.callback(driving.lock.release)
            leaving.callback(driving.spool.close)
            leaving.callback(driving.writer.stop, 5.0)
            leaving.callback(setattr, self, "_closed", True)
            try:
                self.flush(timeout_s)
                driving.writer.stop(timeout_s)
                close_running(self._open_store(), driving, self.cells(), set(), ending=True)
                driving.lease.release()
            except (StoreAwayError, WriteRefusedError) as error:
                raise LedgerError(
                    f"MLflow at {self.tracking_uri} went away while the sweep was closed: {error}"
                ) from error

    def __enter__(self) -> Ledger:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()
