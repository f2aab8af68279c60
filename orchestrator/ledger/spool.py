"""What has been reported and not yet told to MLflow: JSON lines on the local disk, numbered without gaps.

An event is safe when `append` returns (fsync). What MLflow has taken is remembered as one number; everything after it
is written again after a crash, which changes nothing, since every write of the ledger can be repeated.
"""

from __future__ import annotations

import json
import os
import threading
import time
import uuid
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ledger.events import (
    COMMITTED_NAME,
    EVENTS_NAME,
    Event,
    SpoolEntry,
    read_after,
    read_committed,
)

__all__ = ["COMMITTED_NAME", "EVENTS_NAME", "Event", "Spool", "SpoolEntry", "read_after", "read_committed"]
STATE_NAME = "state.json"
REFUSED_NAME = "refused.jsonl"
COMPACT_BYTES = 16 * 2**20


@dataclass(frozen=True)
class SpoolState:
    """What a spool knows of itself."""

    spool_id: str
    lease: int
    """The last lease under which it was written; 0 for a new one."""
    sweep_run: str
    """MLflow run id of the sweep that it belongs to: another one means another store."""


def read_state(folder: Path) -> SpoolState:
    """The state of a spool; a new one gets an id of its own, at once and for good."""
    try:
        state = json.loads((folder / STATE_NAME).read_bytes())
        return SpoolState(str(state["spool"]), int(state["lease"]), str(state["sweep_run"]))
    except (OSError, ValueError, KeyError, TypeError):
        new = SpoolState(uuid.uuid4().hex[:12], 0, "")
        _write_state(folder, new)
        return new


def _write_state(folder: Path, state: SpoolState) -> None:
    fields = {"spool": state.spool_id, "lease": state.lease, "sweep_run": state.sweep_run}
    replace_file(folder / STATE_NAME, json.dumps(fields).encode())


def replace_file(path: Path, content: bytes, *, sync: bool = True) -> None:
    """Write a whole file so that a reader or a crash sees the old one or the new one."""
    temporary = path.with_name(f"{path.name}.{os.getpid()}.new")
    with temporary.open("wb") as file:
        file.write(content)
        file.flush()
        if sync:
            os.fsync(file.fileno())
    temporary.replace(path)


class Spool:
    """The spool of one driver. The folder lock is held while it is open."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._path = folder / EVENTS_NAME
        self._condition = threading.Condition()
        self.committed = read_committed(folder)
        tail = read_after(folder, self.committed)
        self._pending: deque[Event] = deque(tail)
        # every event after `committed` is in the tail, so no number above its last was ever given
        self._last = max([self.committed, *(event.number for event in tail)])
        self.lease = 0
        state = read_state(folder)
        self.spool_id, self.last_lease, self.sweep_run = state.spool_id, state.lease, state.sweep_run
        self._rewrite(tail)

    def begin(self, lease: int, sweep_run: str) -> None:
        """From now on events are reported under `lease`, to the store that holds the run `sweep_run`."""
        self.lease, self.sweep_run = lease, sweep_run
        _write_state(self._folder, SpoolState(self.spool_id, lease, sweep_run))

    def drop_pending(self, unwanted: Callable[[Event], bool], reason: str) -> int:
        """Set aside the events that must not be told any more; returns how many."""
        with self._condition:
            dropped = [event for event in self._pending if unwanted(event)]
            for event in dropped:
                self.set_aside(event, reason)
            kept = [event for event in self._pending if not unwanted(event)]
            self._pending = deque(kept)
            self._file.close()
            self._rewrite(kept)
        return len(dropped)

    def _rewrite(self, tail: Sequence[Event]) -> None:
        """Keep only what is still to be told; this drops a torn last line as well."""
        lines = [event.to_line() for event in tail]
        self._sizes = deque(map(len, lines))  # bytes of each pending event in the file
        self._replace(b"".join(lines))

    def _replace(self, content: bytes) -> None:
        replace_file(self._path, content)
        self._told_bytes = 0  # at the beginning of the file
        self._file = self._path.open("ab", buffering=0)

    def append(self, events: Sequence[SpoolEntry], *, time_ms: int | None = None) -> None:
        """Write events down for good: (kind, data) each. Returns after one fsync for all of them."""
        now_ms = int(time.time() * 1000) if time_ms is None else time_ms
        with self._condition:
            made = [
                Event(number=self._last + i, time_ms=now_ms, lease=self.lease, kind=kind, data=data)
                for i, (kind, data) in enumerate(events, start=1)
            ]
            lines = [event.to_line() for event in made]
            self._write(b"".join(lines))
            self._sizes.extend(map(len, lines))
            self._last += len(made)
            self._pending.extend(made)
            self._condition.notify_all()

    def _write(self, content: bytes) -> None:
        start = os.fstat(self._file.fileno()).st_size
        try:
            view = memoryview(content)
            while view:
                view = view[self._file.write(view) :]
            os.fsync(self._file.fileno())
        except OSError:
            # A full disk must not leave half a line that the next event would be glued to.
            os.ftruncate(self._file.fileno(), start)
            raise

    def pending(self, limit: int) -> list[Event]:
        """The oldest events that are still to be told, at most `limit`."""
        with self._condition:
            return [self._pending[i] for i in range(min(limit, len(self._pending)))]

    @property
    def waiting(self) -> int:
        """How many events are still to be told."""
        with self._condition:
            return len(self._pending)

    def wait_for_events(self, timeout_s: float) -> None:
        """Return when there is something to tell, or after `timeout_s`."""
        with self._condition:
            if not self._pending:
                self._condition.wait(timeout_s)

    def wake(self) -> None:
        """Wake whoever waits."""
        with self._condition:
            self._condition.notify_all()

    def wait_until_told(self, timeout_s: float, give_up: Callable[[], bool]) -> bool:
        """Wait until all that was appended up to now is told; False after `timeout_s` or when `give_up()` is true."""
        deadline = time.monotonic() + timeout_s
        with self._condition:
            goal = self._last
            while self.committed < goal and self._pending:
                left = deadline - time.monotonic()
                if left <= 0 or give_up():
                    return False
                self._condition.wait(min(left, 0.5))
        return True

    def commit(self, number: int) -> None:
        """Remember that MLflow has taken every event up to `number`."""
        with self._condition:
            while self._pending and self._pending[0].number <= number:
                self._pending.popleft()
                self._told_bytes += self._sizes.popleft()
            self.committed = max(self.committed, number)
            # Not synced: losing this number costs a repetition that changes nothing.
            replace_file(self._folder / COMMITTED_NAME, json.dumps({"number": number}).encode(), sync=False)
            # rewritten only once more was told than is left: the cost of each event is bounded, however many wait
            if self._told_bytes > max(COMPACT_BYTES, os.fstat(self._file.fileno()).st_size - self._told_bytes):
                self._file.close()
                self._replace(self._path.read_bytes()[self._told_bytes :])
            self._condition.notify_all()

    def set_aside(self, event: Event, reason: str) -> None:
        """Keep an event that can never be told, with the reason, where a person can read it."""
        line = json.dumps({"reason": reason, **json.loads(event.to_line())}).encode() + b"\n"
        with (self._folder / REFUSED_NAME).open("ab") as file:
            file.write(line)
            file.flush()
            os.fsync(file.fileno())

    def close(self) -> None:
        """Close the file; what was not told stays for the next start."""
        self._file.close()
