"""What may run next, and what an outcome means: the sweep as pure state, without Ray or clocks.

Rounds and rungs are barriers inside a study only; other cells fill the machine meanwhile. Every decision is written
to the ledger before anything that depends on it starts, and is a function of recorded slots alone.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.config import ExecutionConfig, SearchConfig
from orchestrator.execution import studies
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import final_spec, fold_of_seed, rung_steps, search_spec

SELECTION = "selection"
"""Score under which a slot keeps the validation value that decides."""


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A piece of one run: from where it stands up to its next rung or its end."""

    lease_id: str
    cell_id: str
    slot: str
    spec: RunSpec
    attempt: int
    until_step: int
    is_new_attempt: bool


class Journal(Protocol):
    """Where decisions go before they leave (the ledger, or a test's list)."""

    def put_slot(self, cell_id: str, record: SlotRecord) -> None: ...
    def segment_started(self, planned: PlannedCell, segment: Segment, slots: Sequence[str]) -> None: ...
    def progressed(self, segment: Segment, step: int, scores: Mapping[str, float]) -> None: ...
    def run_closed(self, planned: PlannedCell, record: SlotRecord, event: Mapping[str, Any]) -> None: ...
    def superseded(self, planned: PlannedCell, record: SlotRecord) -> None: ...
    def cell_closed(self, planned: PlannedCell, slots: Mapping[str, SlotRecord]) -> None: ...


@dataclass
class _CellState:
    planned: PlannedCell
    slots: dict[str, SlotRecord]
    rungs: tuple[int, ...]
    is_closed: bool = False


class SweepState:
    """All cells of a sweep. Thread-safe: the Tuner's thread moves it, the progress table reads it."""

    def __init__(
        self,
        cells: Sequence[PlannedCell],
        records: Mapping[str, CellRecord],
        *,
        search: SearchConfig,
        execution: ExecutionConfig,
        journal: Journal,
        retry_failed: bool = False,
    ) -> None:
        self.search, self.execution, self.journal = search, execution, journal
        self.lock = threading.RLock()
        self.cells: dict[str, _CellState] = {}
        self.in_flight: dict[str, Segment] = {}
        self.stop_reason = ""
        self._attempted: set[str] = set()
        self._same_error: tuple[str, list[str]] = ("", [])
        for planned in cells:
            if planned.cell_id is None or planned.template is None or planned.state == "blocked":
                continue
            known = records.get(planned.cell_id)
            state = _CellState(planned, dict(known.slots) if known else {}, rung_steps(planned, search))
            self.cells[planned.cell_id] = state
            self._reopen(state, everything=retry_failed)
        for state in self.cells.values():  # a kill may have fallen between a rung and its decision
            for fold in state.planned.folds_used:
                self._settle(state, fold)
            self._close_if_done(state, is_start=True)

    def _reopen(self, state: _CellState, *, everything: bool) -> None:
        """A new start gives failed runs that block a result another chance; `retry` gives it to all."""
        for slot, record in list(state.slots.items()):
            if record.state != "failed":
                continue
            is_search = slot.startswith("search/")
            if everything or not is_search or self._winner(state, int(slot.split("/")[1][1:])) is None:
                state.slots[slot] = record.with_(state="running", failures=0, error="")

    # ---- what runs next

    def next_segment(self, *, limit: int) -> Segment | None:
        """The next segment to start, written down before it is returned; None = nothing now."""
        with self.lock:
            if self.stop_reason or len(self.in_flight) >= limit:
                return None
            for state in sorted(self.cells.values(), key=lambda s: -self._remaining_s(s)):
                for slot, until in self._ready(state):
                    return self._start(state, slot, until)
            return None

    @property
    def is_finished(self) -> bool:
        with self.lock:
            nothing_ready = not any(True for s in self.cells.values() for _ in self._ready(s))
            return not self.in_flight and (nothing_ready or bool(self.stop_reason))

    def has_work(self) -> bool:
        """Whether any run is left: asked before Ray is started."""
        with self.lock:
            return any(True for s in self.cells.values() for _ in self._ready(s))

    def _remaining_s(self, state: _CellState) -> float:
        closed = sum(r.is_closed for r in state.slots.values())
        return state.planned.device_s * max(0.0, 1 - closed / max(1, state.planned.runs_total))

    def _ready(self, state: _CellState) -> Iterator[tuple[str, int]]:
        """(slot, until step) of this cell that may start now."""
        if state.is_closed:
            return
        busy = {s.spec.key for s in self.in_flight.values()}
        for fold in state.planned.folds_used:
            yield from self._ready_of_fold(state, fold, busy)

    def _ready_of_fold(self, state: _CellState, fold: int, busy: set[str]) -> Iterator[tuple[str, int]]:
        numbers = self._open_round(state, fold)
        if numbers is not None:
            self._draw(state, fold, numbers)
            running = self._unique_running(state, fold, numbers)
            if running:
                target = self._target(state, running)
                yield from ((r.slot, target) for r in running if r.reached_step < target and r.key not in busy)
            return
        for seed in self._final_seeds(state, fold):
            slot = f"final/{seed}"
            record = self._final_record(state, fold, seed)
            if record is not None and not record.is_closed and record.key not in busy:
                yield slot, state.rungs[-1]

    def _final_seeds(self, state: _CellState, fold: int) -> list[int]:
        return [s for s in range(state.planned.seeds) if fold_of_seed(state.planned, s) == fold]

    def _start(self, state: _CellState, slot: str, until: int) -> Segment:
        record = state.slots[slot]
        is_new = record.key not in self._attempted
        if is_new:
            self._attempted.add(record.key)
            for twin in self._twins(state, record.key):
                self._put(state, state.slots[twin].with_(attempt=record.attempt + 1, state="running"))
            record = state.slots[slot]
        spec = self._spec(state, record)
        segment = Segment(
            lease_id=f"{record.key}.{record.attempt}.{record.failures}.{until}", cell_id=str(state.planned.cell_id), slot=slot,
            spec=spec, attempt=record.attempt, until_step=until, is_new_attempt=is_new,
        )  # fmt: skip
        self.in_flight[segment.lease_id] = segment
        self.journal.segment_started(state.planned, segment, self._twins(state, record.key))
        return segment

    def _spec(self, state: _CellState, record: SlotRecord) -> RunSpec:
        parts = record.slot.split("/")
        if parts[0] == "search":
            return search_spec(state.planned, int(parts[1][1:]), int(parts[2]), record.params)
        return final_spec(state.planned, int(parts[1]), record.params)

    # ---- rounds and rungs

    def _round(self, number: int, trials: int) -> list[int]:
        first = number - number % self.search.round
        return list(range(first, min(first + self.search.round, trials)))

    def _open_round(self, state: _CellState, fold: int) -> list[int] | None:
        """Trial numbers of the first round that is not closed; None when the search is over."""
        for first in range(0, state.planned.trials, self.search.round):
            numbers = self._round(first, state.planned.trials)
            records = [state.slots.get(f"search/f{fold}/{n}") for n in numbers]
            if any(r is None or not r.is_closed for r in records):
                return numbers
        return None

    def _draw(self, state: _CellState, fold: int, numbers: list[int]) -> None:
        """Draw a whole round at once and write it down before any of it starts."""
        names = {n: f"search/f{fold}/{n}" for n in numbers}
        if all(name in state.slots for name in names.values()):
            return
        planned = state.planned
        assert planned.template is not None
        params = studies.draw_round(
            cell_id=str(planned.cell_id), fold=fold, numbers=numbers, space=planned.space,
            past=[state.slots[f"search/f{fold}/{n}"] for n in range(numbers[0])],
            drawn={n: state.slots[s].params for n, s in names.items() if s in state.slots},
            defaults={k: planned.template.fields[k] for k in planned.space},
            sampler=self.search.sampler, round_size=self.search.round,
        )  # fmt: skip
        for number, name in names.items():
            if name not in state.slots:
                key = search_spec(planned, fold, number, params[number]).key
                record = SlotRecord(slot=name, key=key, params=params[number], attempt=0)
                twin = next((r for r in state.slots.values() if r.key == key), None)
                if twin is not None:  # the same training again: told the same value, never trained twice
                    record = twin.with_(slot=name, params=params[number])
                self._put(state, record)

    def _unique_running(self, state: _CellState, fold: int, numbers: Sequence[int]) -> list[SlotRecord]:
        found: dict[str, SlotRecord] = {}
        for n in numbers:
            record = state.slots.get(f"search/f{fold}/{n}")
            if record is not None and not record.is_closed:
                found.setdefault(record.key, record)
        return list(found.values())

    def _target(self, state: _CellState, running: Sequence[SlotRecord]) -> int:
        lowest = min(r.reached_step for r in running)
        return next(r for r in state.rungs if r > lowest)

    def _settle(self, state: _CellState, fold: int) -> None:
        """Decide the open round's rung once every running trial stands at it."""
        numbers = self._open_round(state, fold)
        if numbers is None:
            return
        running = self._unique_running(state, fold, numbers)
        steps = {r.reached_step for r in running}
        if len(steps) != 1 or (step := steps.pop()) not in state.rungs or step == state.rungs[-1]:
            return
        # Those that a kill let be stopped already at this very rung took part in the decision: count them again.
        in_round = [state.slots[f"search/f{fold}/{n}"] for n in numbers if f"search/f{fold}/{n}" in state.slots]
        stopped = [r for r in in_round if r.state == "stopped" and r.reached_step == step]
        by_key = {r.key: r for r in [*stopped, *running]}
        scores = {int(r.slot.split("/")[2]): r.scores.get(SELECTION, -math.inf) for r in by_key.values()}
        keep = studies.going_on(scores, self.search.reduction)
        bar = min(scores[n] for n in keep)
        for record in running:
            if int(record.slot.split("/")[2]) not in keep:
                own = record.scores.get(SELECTION, -math.inf)
                reason = f"rung at step {step}: {self.search.metric} {own:.4f} is below {bar:.4f}, the last of {len(keep)} that go on"
                self._close(state, record.key, "stopped", {}, stop_reason=reason)

    # ---- outcomes

    def on_progress(self, lease_id: str, step: int, scores: Mapping[str, float]) -> None:
        with self.lock:
            if segment := self.in_flight.get(lease_id):
                self.journal.progressed(segment, step, scores)

    def on_end(self, lease_id: str, event: Mapping[str, Any]) -> None:
        """A segment ended: reached, cancelled, lost or failed."""
        with self.lock:
            segment = self.in_flight.pop(lease_id, None)
            if segment is None:
                return
            state = self.cells[segment.cell_id]
            if event["kind"] == "reached":
                self._reached(state, segment, event)
            elif event["kind"] == "failed" or not self.stop_reason:
                self._failed(state, segment, event)
            fold = segment.spec.fold
            self._settle(state, fold)
            self._close_if_done(state)

    def _reached(self, state: _CellState, segment: Segment, event: Mapping[str, Any]) -> None:
        key, step = segment.spec.key, int(event["step"])
        scores = {k: float(v) for k, v in event["scores"].items()}
        best = scores.get(f"val/best_{self.search.metric}")
        if best is not None and math.isfinite(best):
            scores[SELECTION] = best
        for slot in self._twins(state, key):
            self._put(state, state.slots[slot].with_(reached_step=step, scores=scores, seconds=float(event["seconds"])))
        is_last = step >= state.rungs[-1]
        if not is_last:
            return
        if segment.spec.stage == "search" and SELECTION not in scores:
            self._close(state, key, "failed", event, error=f"no finite validation {self.search.metric} to select on")
            return
        self._same_error = ("", [])
        self._close(state, key, "finished", event)

    def _failed(self, state: _CellState, segment: Segment, event: Mapping[str, Any]) -> None:
        key = segment.spec.key
        self._attempted.discard(key)
        record = state.slots[segment.slot]
        cause = event.get("cause", "time_limit" if event["kind"] == "cancelled" else "lost")
        error = str(event.get("error") or event.get("reason") or "lost")
        failures = record.failures + 1
        for slot in self._twins(state, key):
            self._put(state, state.slots[slot].with_(failures=failures, error=error))
        if cause in ("lost", "storage") and failures < self.execution.max_attempts:
            return  # ready again, as a new attempt
        self._close(state, key, "failed", event, error=error)
        self._break_circuit(state, error)

    def _break_circuit(self, state: _CellState, error: str) -> None:
        signature = error.split("\n")[0][:120]
        former, names = self._same_error
        names = [*names, str(state.planned.cell)] if signature == former else [str(state.planned.cell)]
        self._same_error = (signature, list(dict.fromkeys(names)))
        limit = self.execution.same_error_limit
        if self.execution.fail_fast:
            self.stop_reason = f"--fail-fast: {state.planned.cell} failed: {error}"
        elif limit and len(self._same_error[1]) >= limit:
            self.stop_reason = f"the same error in {limit} cells in a row, so the cause is not in one cell: {error}"

    def _close(self, state: _CellState, key: str, outcome: Any, event: Mapping[str, Any], *, error: str = "", stop_reason: str = "") -> None:
        for slot in self._twins(state, key):
            record = state.slots[slot].with_(state=outcome, error=error, stop_reason=stop_reason)
            self._put(state, record)
        self.journal.run_closed(state.planned, record, event)

    def _close_if_done(self, state: _CellState, *, is_start: bool = False) -> None:
        if state.is_closed or any(True for _ in self._ready(state)):
            return
        if any(s.cell_id == state.planned.cell_id for s in self.in_flight.values()):
            return
        state.is_closed = True
        if not is_start:
            self.journal.cell_closed(state.planned, dict(state.slots))

    # ---- winners and finals

    def _winner(self, state: _CellState, fold: int) -> SlotRecord | None:
        records = {n: state.slots.get(f"search/f{fold}/{n}") for n in range(state.planned.trials)}
        finished = {n: r.scores[SELECTION] for n, r in records.items() if r is not None and r.state == "finished" and SELECTION in r.scores}
        number = studies.winner(finished)
        return None if number is None else records[number]

    def _final_record(self, state: _CellState, fold: int, seed: int) -> SlotRecord | None:
        """The slot of a final run with the winner's parameters; one of a former winner is superseded."""
        planned = state.planned
        assert planned.template is not None
        if planned.trials:
            best = self._winner(state, fold)
            if best is None:
                return None  # every trial failed: there is nothing to repeat
            params = dict(best.params)
        else:
            params = {k: planned.template.fields[k] for k in planned.space}
        key = final_spec(planned, seed, params).key
        slot = f"final/{seed}"
        record = state.slots.get(slot)
        if record is not None and record.key != key:
            self.journal.superseded(planned, record)
            record = None
        if record is None:
            record = SlotRecord(slot=slot, key=key, params=params, attempt=0)
            self._put(state, record)
        return record

    def _twins(self, state: _CellState, key: str) -> list[str]:
        return [slot for slot, record in state.slots.items() if record.key == key and record.state != "superseded"]

    def _put(self, state: _CellState, record: SlotRecord) -> None:
        state.slots[record.slot] = record
        self.journal.put_slot(str(state.planned.cell_id), record)
