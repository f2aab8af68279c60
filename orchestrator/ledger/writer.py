"""The one thread that tells MLflow what the spool holds. Callers never wait for it."""

from __future__ import annotations

import logging
import signal
import threading
from collections.abc import Callable

from orchestrator.errors import LedgerError
from orchestrator.ledger.changes import Applier
from orchestrator.ledger.lease import Lease
from orchestrator.ledger.mlflow_store import StoreAwayError, WriteRefusedError
from orchestrator.ledger.spool import Event, Spool

BATCH = 500
IDLE_S = 2.0
FIRST_PAUSE_S = 0.2
LONGEST_PAUSE_S = 10.0
_log = logging.getLogger(__name__)


class Writer(threading.Thread):
    """Drains the spool in batches and repeats with growing pauses while the store is away."""

    def __init__(self, spool: Spool, lease: Lease, applier: Applier, on_lost: Callable[[], None]) -> None:
        super().__init__(name="hsfm-ledger-writer", daemon=True)
        self._spool = spool
        self._lease = lease
        self._applier = applier
        self._on_lost = on_lost
        self._stopping = threading.Event()
        self.lost: LedgerError | None = None
        """Why this driver may not write any more."""
        self.away = ""
        """Why the store could not be written when last tried; "" while it can."""
        self.problems: list[str] = []
        """Events that MLflow refused for good; they are kept in the spool's folder."""

    def run(self) -> None:
        # The main thread's business: where it is deaf for a while (Ray starts), the signal must wait for it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        pause_s = FIRST_PAUSE_S
        while not self._stopping.is_set():
            self._spool.wait_for_events(IDLE_S)
            try:
                self._turn()
                self.away, pause_s = "", FIRST_PAUSE_S
            except LedgerError as error:
                self.lost = error
                self._on_lost()
                self._spool.wake()
                return
            except Exception as error:
                # Not only StoreAwayError: whatever went wrong, the events are safe and are tried again.
                if not self.away:
                    level = logging.WARNING if isinstance(error, StoreAwayError) else logging.ERROR
                    _log.log(level, "MLflow cannot be written, trying again: %s", error)
                self.away = f"{type(error).__name__}: {error}"
                self._applier.unsure = True
                self._stopping.wait(pause_s)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)

    def _turn(self) -> None:
        self._lease.check()
        self._lease.beat()
        while (events := self._spool.pending(BATCH)) and not self._stopping.is_set():
            try:
                self._applier.apply(events)
            except WriteRefusedError:
                self._one_by_one(events)
            self._applier.sync()
            self._spool.commit(events[-1].number)
            self._lease.check()
            self._lease.beat()

    def _one_by_one(self, events: list[Event]) -> None:
        """Find the event that MLflow refuses; the others of its batch must not be lost with it."""
        for event in events:
            try:
                self._applier.apply([event])
            except WriteRefusedError as error:
                self._spool.set_aside(event, str(error))
                self.problems.append(f"MLflow refused event {event.number} ({event.kind}): {error}")
                _log.error("%s; it is kept in the spool's folder", self.problems[-1])
            self._applier.sync()
            self._spool.commit(event.number)

    def stop(self, timeout_s: float) -> None:
        """Stop after the batch in hand."""
        self._stopping.set()
        self._spool.wake()
        self.join(timeout_s)
