"""What may run next, and what an outcome means: the sweep as pure state, without Ray or clocks.

Rounds and rungs are barriers inside a study only; other cells fill the machine meanwhile. Every decision is written
to the ledger before anything that depends on it starts, and is a function of recorded slots alone.
"""

from __future__ import annotations

import math
import threading
from collections.abc import Callable, Collection, Hashable, Iterator, Mapping, Sequence
from typing import Any

from orchestrator.config import ExecutionConfig, SearchConfig
from orchestrator.execution import rounds
from orchestrator.execution.cell_queue import CellQueue
from orchestrator.execution.cell_state import SELECTION, CellState
from orchestrator.execution.failures import NODE_LOST, CircuitBreaker, cause_of, verdict
from orchestrator.execution.segments import Journal, Segment
from orchestrator.execution.stages import Stages
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.slots import rung_steps


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
        retry: Collection[str] = (),
    ) -> None:
        """`retry` names the cells whose failed runs, all of them, get another chance."""
        self.search, self.execution, self.journal = search, execution, journal
        self.lock = threading.RLock()
        self.cells: dict[str, CellState] = {}
        self.stages = Stages(self.cells)
        self.in_flight: dict[str, Segment] = {}
        self.stop_reason = ""
        self.ended_segments = 0
        """Segments that came to their rung or their end since this start."""
        self._attempted: set[str] = set()
        self._queue = CellQueue()
        self._waiting: dict[str, CellState] = {}
        """Cells that have to wait for a run of another cell with the same key."""
        self._breaker = CircuitBreaker(execution.same_error_limit, fail_fast=execution.fail_fast)
        for planned in cells:
            if planned.cell_id is None or planned.template is None or planned.state == "blocked":
                continue
            known = records.get(planned.cell_id)
            state = CellState(planned, dict(known.slots) if known else {}, rung_steps(planned, search))
            self.cells[planned.cell_id] = state
            state.reopen(everything=state.cell_id in retry)
        with journal.together():
            for state in self.cells.values():  # a kill may have fallen between a rung and its decision
                for fold in state.planned.folds_used:
                    self._settle(state, fold)
                self._close_if_done(state, is_start=True)
                self._queue.touch(state)

    # ---- what runs next

    def queue_by(self, shape_of: Callable[[PlannedCell], Hashable]) -> None:
        """Let the cells queue by the shape of the worker groups that their runs need, so that shapes can be full."""
        with self.lock:
            self._queue.regroup(shape_of)

    def next_segment(self, *, limit: float = math.inf, full: Collection[Hashable] = ()) -> Segment | None:
        """The next segment to start, of no shape that is `full`, written down before; None = nothing now."""
        with self.lock:
            if self.stop_reason or len(self.in_flight) >= limit:
                return None
            with self.journal.together():
                found = self._first_ready(full)
                return None if found is None else self._start(*found)

    @property
    def is_finished(self) -> bool:
        with self.lock:
            return not self.in_flight and (bool(self.stop_reason) or not self.has_work())

    def has_work(self) -> bool:
        """Whether any run may start: asked before Ray is started."""
        with self.lock, self.journal.together():
            return self._first_ready() is not None

    def _first_ready(self, full: Collection[Hashable] = ()) -> tuple[CellState, str, int] | None:
        """Cell, slot and until step of what is started next; a cell with nothing to start is not asked again soon."""
        while (state := self._queue.first(full)) is not None:
            busy = {segment.spec.key for segment in self.in_flight.values()}
            for slot, until in self._open_runs(state):
                if state.slots[slot].key not in busy:
                    return state, slot, until
            self._queue.drop(state)
            if not state.is_closed and not state.in_flight:
                self._waiting[state.cell_id] = state
        return None

    def _open_runs(self, state: CellState) -> Iterator[tuple[str, int]]:
        """(slot, until step) of what this cell can do now or is doing; a round is drawn when it is come to."""
        if not state.is_closed:
            for fold in state.planned.folds_used:
                yield from self._open_runs_of_fold(state, fold)

    def _open_runs_of_fold(self, state: CellState, fold: int) -> Iterator[tuple[str, int]]:
        numbers = state.open_round(fold, self.search.round)
        if numbers is not None:
            if not self.stages.are_finished(state.needs(fold)):
                return
            for record in rounds.draw(state, fold, numbers, self.search):
                self._put(state, record)
            running = state.running(fold, numbers)
            if running:
                target = state.next_rung(running)
                yield from ((r.slot, target) for r in running if r.reached_step < target)
            return
        for seed in state.final_seeds(fold):
            final = self._final_record(state, fold, seed)
            if final is not None and not final.is_closed and self.stages.are_finished(state.needs(fold, seed)):
                yield state.last_slot(seed), state.rungs[-1]

    def _start(self, state: CellState, slot: str, until: int) -> Segment:
        record = state.slots[slot]
        is_new = record.key not in self._attempted
        if is_new:
            self._attempted.add(record.key)
            for twin in state.twins(record.key):
                self._put(state, state.slots[twin].with_(attempt=record.attempt + 1, state="running"))
            record = state.slots[slot]
        segment = state.segment(record, until, is_new_attempt=is_new)
        self.in_flight[segment.lease_id] = segment
        state.in_flight += 1
        self.journal.segment_started(state.planned, segment, state.twins(record.key))
        return segment

    def _settle(self, state: CellState, fold: int) -> None:
        for key, reason in rounds.stopped_at_rung(state, fold, self.search):
            self._close(state, key, "stopped", {}, stop_reason=reason)

    # ---- outcomes

    def on_progress(self, lease_id: str, points: Sequence[Mapping[str, Any]]) -> None:
        """Evaluations of a run, each with step, time_ms and scores; those of former attempts come once more."""
        with self.lock, self.journal.together():
            if segment := self.in_flight.get(lease_id):
                self.journal.progressed(segment, points)

    def on_note(self, lease_id: str, text: str) -> None:
        """Something about a run that its user should know."""
        with self.lock:
            if segment := self.in_flight.get(lease_id):
                self.journal.noted(self.cells[segment.cell_id].planned, segment, text)

    def on_end(self, lease_id: str, event: Mapping[str, Any]) -> None:
        """A segment ended: reached, cancelled, lost or failed."""
        with self.lock, self.journal.together():
            segment = self.in_flight.pop(lease_id, None)
            if segment is None:
                return
            state = self.cells[segment.cell_id]
            state.in_flight -= 1
            if event["kind"] == "reached":
                self.ended_segments += 1
                self._reached(state, segment, event)
            elif event["kind"] == "failed" or not self.stop_reason:
                self._failed(state, segment, event)
            fold = segment.spec.fold
            self._settle(state, fold)
            self._close_if_done(state)
            if state.is_closed and state.planned.stage != "final":
                for waiting in list(self._waiting.values()):  # it may have waited for what has failed now
                    self._close_if_done(waiting)
            for changed in (state, *self._waiting.values()):
                self._queue.touch(changed)
            self._waiting.clear()

    def _reached(self, state: CellState, segment: Segment, event: Mapping[str, Any]) -> None:
        key, step = segment.spec.key, int(event["step"])
        scores = {k: float(v) for k, v in event["scores"].items()}
        best = scores.get(f"val/best_{self.search.metric}")
        if best is not None and math.isfinite(best):
            scores[SELECTION] = best
        for slot in state.twins(key):
            self._put(
                state,
                state.slots[slot].with_(
                    reached_step=step,
                    scores=scores,
                    seconds=float(event["seconds"]),
                    failures=0,
                    lost_nodes=0,
                    error="",
                    cause="",
                ),
            )
        is_last = step >= state.rungs[-1]
        if not is_last:
            return
        if segment.spec.stage == "search" and SELECTION not in scores:
            self._close(state, key, "failed", event, error=f"no finite validation {self.search.metric} to select on")
            return
        self._breaker.succeeded()
        self._close(state, key, "finished", event)

    def _failed(self, state: CellState, segment: Segment, event: Mapping[str, Any]) -> None:
        key = segment.spec.key
        self._attempted.discard(key)
        record = state.slots[segment.slot]
        cause = cause_of(event["kind"], event.get("cause"))
        error = str(event.get("error") or event.get("reason") or "lost")
        went_with_node = cause == NODE_LOST
        failures, lost_nodes = record.failures + (not went_with_node), record.lost_nodes + went_with_node
        decided = verdict(
            cause,
            failures,
            self.execution.max_attempts,
            can_split=bool(event.get("can_split")),
            lost_nodes=lost_nodes,
            max_lost_nodes=self.execution.max_lost_nodes,
        )
        parts = 2 * record.micro_batches if decided == "split" else record.micro_batches
        for slot in state.twins(key):
            changed = {"failures": failures, "lost_nodes": lost_nodes, "error": error, "cause": cause}
            self._put(state, state.slots[slot].with_(**changed, micro_batches=parts))
        self.journal.attempt_failed(state.planned, segment, cause=cause, error=error, decided=decided)
        if decided == "pause":
            self.stop_reason = self.stop_reason or (
                f"files of the sweep cannot be read or written, {failures} attempts in a row: {error}; nothing that "
                "is finished is lost: mend the disk or free space on it, then the same command goes on"
            )
        if decided != "fail":
            return  # ready again, as a new attempt
        self._close(state, key, "failed", event, error=error)
        self.stop_reason = self.stop_reason or self._breaker.failed(str(state.planned.cell), error)

    def _close(
        self,
        state: CellState,
        key: str,
        outcome: Any,
        event: Mapping[str, Any],
        *,
        error: str = "",
        stop_reason: str = "",
    ) -> None:
        for slot in state.twins(key):
            record = state.slots[slot].with_(state=outcome, error=error, stop_reason=stop_reason)
            self._put(state, record)
        self.journal.run_closed(state.planned, record, event)

    def _close_if_done(self, state: CellState, *, is_start: bool = False) -> None:
        if state.is_closed or state.in_flight:
            return
        if self.stages.are_waited_for(state):
            return
        is_stuck = bool(self.stages.failed(state))
        if not is_stuck and any(
            state.open_round(fold, self.search.round) is not None for fold in state.planned.folds_used
        ):
            return
        if any(True for _ in self._open_runs(state)):
            return
        state.is_closed = True
        if not is_start:
            self.journal.cell_closed(state.planned, dict(state.slots))

    # ---- winners and finals

    def _final_record(self, state: CellState, fold: int, seed: int) -> SlotRecord | None:
        """The slot of a final run with the winner's parameters; one of a former winner is superseded."""
        params = state.final_params(fold)
        if params is None:
            return None  # every trial failed: there is nothing to repeat
        key = state.final_key(seed, params)
        slot = state.last_slot(seed)
        record = state.slots.get(slot)
        if record is not None and record.key != key:
            if record.attempt:  # one that was never started has no run yet
                self.journal.superseded(state.planned, record)
            record = None
        if record is None:
            record = SlotRecord(slot=slot, key=key, params=params, attempt=0)
            self._put(state, record)
        return record

    def _put(self, state: CellState, record: SlotRecord) -> None:
        state.put(record)
        self.journal.put_slot(state.cell_id, record)
