"""One driver a sweep: a write-once param `lease.<n>` on the sweep's own run, read again before every flush."""

from __future__ import annotations

import json
import os
import socket
import time
import uuid
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import LedgerError
from orchestrator.ledger.mlflow_store import MlflowStore, WriteRefusedError

if TYPE_CHECKING:
    from mlflow.entities import Run

LEASE_PREFIX = "lease."
HEARTBEAT_TAG = "hsfm.heartbeat"
RELEASED_TAG = "hsfm.lease.released"
HEARTBEAT_S = 10.0
STALE_S = 120.0


@dataclass(frozen=True, kw_only=True)
class Driver:
    """Who writes: enough to tell a person whom to ask, and a program whether it still lives."""

    id: str
    host: str
    place: str
    """Boot and process namespace: process numbers can be compared only inside one place."""
    pid: int
    started: float
    since: str
    spool: str

    @classmethod
    def this(cls, spool_id: str) -> Driver:
        import psutil

        return cls(
            id=uuid.uuid4().hex[:12],
            host=socket.gethostname(),
            place=_place(),
            pid=os.getpid(),
            started=psutil.Process().create_time(),
            since=datetime.now().astimezone().isoformat(timespec="seconds"),
            spool=spool_id,
        )

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Driver:
        known = {name: data.get(name, "") for name in cls.__dataclass_fields__}
        return cls(**{**known, "pid": int(known["pid"] or 0), "started": float(known["started"] or 0)})

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def __str__(self) -> str:
        return f"process {self.pid} on {self.host or 'an unknown host'} since {self.since or 'an unknown time'}"

    def is_running_here(self) -> bool | None:
        """Whether the process lives; None where it cannot be told from here."""
        import psutil

        if self.place != _place():
            return None
        try:
            return bool(abs(psutil.Process(self.pid).create_time() - self.started) < 2)
        except psutil.Error:
            return False


def _place() -> str:
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot}:{os.readlink('/proc/self/ns/pid')}"
    except OSError:
        return socket.gethostname()


def refusal(holder: Driver, sweep: str) -> LedgerError:
    """What a second driver is told."""
    return LedgerError(
        f"sweep {sweep!r} is driven by {holder}; one driver at a time. Wait until it is done, look at it with "
        "`hsfm-sweep status --grid NAME`, end it, or take the sweep over: the other one then stops writing."
    )


class Lease:
    """The right to write; lost as soon as a newer lease appears."""

    def __init__(self, store: MlflowStore, run_id: str, driver: Driver) -> None:
        self._store = store
        self.run_id = run_id
        self.driver = driver
        self.number = 0
        self.earlier: dict[int, Driver] = {}
        self._last_beat = 0.0

    def take(self, sweep: str, *, take_over: bool) -> None:
        """Take the next lease.

        Raises:
            LedgerError: another driver holds the newest one and lives, or was faster.
        """
        run = self._store.get_run(self.run_id)
        self.earlier = _leases(run)
        newest = max(self.earlier, default=0)
        if newest and not take_over and self._is_held(run, newest):
            raise refusal(self.earlier[newest], sweep)
        self.number = newest + 1
        value = json.dumps(self.driver.to_json(), sort_keys=True)
        try:
            self._store.log_params(self.run_id, {f"{LEASE_PREFIX}{self.number}": value})
        except WriteRefusedError as error:
            winner = _leases(self._store.get_run(self.run_id)).get(self.number, self.driver)
            raise refusal(winner, sweep) from error
        self.beat(force=True)

    def _is_held(self, run: Run, newest: int) -> bool:
        holder = self.earlier[newest]
        if run.data.tags.get(RELEASED_TAG) == str(newest):
            return False
        if holder.spool == self.driver.spool:
            return False  # we hold the lock of that spool's folder, so its driver is gone
        alive = holder.is_running_here()
        if alive is not None:
            return alive
        beat_ms = float(run.data.tags.get(HEARTBEAT_TAG, 0))
        return time.time() - beat_ms / 1000 < STALE_S

    def check(self) -> None:
        """Read the leases again.

        Raises:
            LedgerError: another driver has taken the sweep over.
        """
        leases = _leases(self._store.get_run(self.run_id))
        newest = max(leases, default=0)
        if newest != self.number:
            raise LedgerError(
                f"the sweep was taken over by {leases.get(newest, 'another driver')}; "
                "this driver has stopped writing. Its finished runs are in the ledger or in its spool."
            )

    def beat(self, *, force: bool = False) -> None:
        """Say that this driver lives, every HEARTBEAT_S seconds."""
        now = time.time()
        if force or now - self._last_beat >= HEARTBEAT_S:
            self._store.log(self.run_id, {HEARTBEAT_TAG: str(int(now * 1000))})
            self._last_beat = now

    def release(self) -> None:
        """Let the next driver in at once."""
        self._store.log(self.run_id, {RELEASED_TAG: str(self.number)})

    def foreign_since(self, lease: int) -> bool:
        """Whether a driver with another spool has written after lease number `lease`."""
        return any(n > lease and driver.spool != self.driver.spool for n, driver in self.earlier.items())


def _leases(run: Run) -> dict[int, Driver]:
    found = {}
    for key, value in run.data.params.items():
        if key.startswith(LEASE_PREFIX) and key[len(LEASE_PREFIX) :].isdigit():
            try:
                found[int(key[len(LEASE_PREFIX) :])] = Driver.from_json(json.loads(value))
            except (ValueError, TypeError):
                continue
    return found
