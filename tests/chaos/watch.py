"""A sweep seen from outside while it runs: its ledger by SQL and spool, its optimiser steps by the step probe."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ledger.location import resolve_location
from orchestrator.ledger.parents import cell_records, parents_from_sqlite
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.spool import read_after, read_committed
from tests.chaos.command import NAME
from tests.faults.training_log import Line


@dataclass(frozen=True, kw_only=True)
class InFlight:
    """One run that was being trained."""

    slot: str
    key: str
    attempt: int
    step: int
    """Last optimiser step that its process wrote down; 0 = none yet, or an estimator."""
    checkpoint: int
    """Step of its newest checkpoint; 0 = none."""
    pids: tuple[int, ...]
    """Processes that have trained it in this attempt."""

    @property
    def stage(self) -> str:
        return "final" if " final/" in self.slot else "search"


class Watch:
    """What is known of a sweep. `look` brings it up to date; it never writes and never opens MLflow."""

    def __init__(self, sweep: Path, steps_folder: Path) -> None:
        self._sweep, self._steps_folder = sweep, steps_folder
        self._offsets: dict[Path, int] = {}
        self.lines: list[Line] = []
        self.slots: dict[str, SlotRecord] = {}
        self.moments: list[tuple[float, str, int]] = []
        """(time, key, attempt) of every sign of work: an optimiser step, a rung or an end in the ledger."""
        self._steps: dict[tuple[str, int], int] = {}
        self._saved: dict[str, int] = {}
        self._pids: dict[tuple[str, int], set[int]] = {}
        self._baseline: dict[str, int] = {}

    def look(self) -> None:
        self._read_lines()
        self._read_slots()

    def new_cluster(self) -> None:
        """What was in flight is so no more: attempts up to here belong to a cluster that is gone."""
        self._baseline = {slot: record.attempt for slot, record in self.slots.items()}

    def _read_lines(self) -> None:
        for path in sorted(self._steps_folder.glob("*.log")):
            with path.open("rb") as file:
                file.seek(self._offsets.get(path, 0))
                data = file.read()
            whole = data[: data.rfind(b"\n") + 1]
            self._offsets[path] = self._offsets.get(path, 0) + len(whole)
            for text in whole.decode().splitlines():
                time_s, kind, key, attempt, rank, step = text.split()
                self._take(Line(float(time_s), kind, key, int(attempt), int(rank), int(step), int(path.stem)))

    def _take(self, line: Line) -> None:
        self.lines.append(line)
        run = (line.key, line.attempt)
        if line.kind == "saved":
            self._saved[line.key] = max(self._saved.get(line.key, 0), line.step)
            return
        self._pids.setdefault(run, set()).add(line.pid)
        if line.rank == 0:
            self._steps[run] = max(self._steps.get(run, 0), line.step)
            self.moments.append((line.time_s, line.key, line.attempt))

    def _read_slots(self) -> None:
        location = resolve_location(self._sweep, None)
        if location.database is None or not location.database.exists():
            return
        told = read_committed(location.spool_dir)
        parents = parents_from_sqlite(location.database, NAME)
        if parents is None:  # the schema is being made: opening the store now would make it, too
            return
        now = time.time()
        for cell in cell_records(parents, read_after(location.spool_dir, told)).values():
            for name, record in cell.slots.items():
                slot = f"{cell.tags['hsfm.strategy']} {name}"
                before = self.slots.get(slot)
                self.slots[slot] = record
                if before and (before.state, before.reached_step) != (record.state, record.reached_step):
                    self.moments.append((now, record.key, record.attempt))

    # ---- questions

    def closed(self) -> dict[str, SlotRecord]:
        return {slot: record for slot, record in self.slots.items() if record.is_closed}

    def work_done(self) -> float:
        """Optimiser steps of all runs, each counted once, and a closed run without steps as one."""
        steps: dict[str, int] = {}
        for (key, _), step in self._steps.items():
            steps[key] = max(steps.get(key, 0), step)
        fits = {record.key for record in self.slots.values() if record.is_closed and record.key not in steps}
        return sum(steps.values()) + len(fits)

    def in_flight(self) -> list[InFlight]:
        """Runs that this cluster has started and that neither are closed nor wait at a rung."""
        found: dict[str, InFlight] = {}
        for slot, record in self.slots.items():
            run = (record.key, record.attempt)
            is_started = record.attempt > self._baseline.get(slot, 0)
            stands_at_rung = 0 < record.reached_step == self._steps.get(run, 0)
            if record.is_closed or not is_started or stands_at_rung:
                continue
            found[record.key] = InFlight(
                slot=slot,
                key=record.key,
                attempt=record.attempt,
                step=self._steps.get(run, 0),
                checkpoint=self._saved.get(record.key, 0),
                pids=tuple(sorted(self._pids.get(run, ()))),
            )
        return sorted(found.values(), key=lambda f: f.slot)

    def mates(self, pid: int) -> set[int]:
        """Processes that trained the same attempt of a run as `pid` did last: the ranks of its group."""
        for line in reversed(self.lines):
            if line.pid == pid and line.kind == "step":
                return set(self._pids[line.key, line.attempt])
        return set()
