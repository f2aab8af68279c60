"""What may run next: the sweep as pure state, without Ray or clocks.

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
from orchestrator.execution.cell_state import CellState
from orchestrator.execution.leave_one_scene_out import SceneChoices
from orchestrator.execution.outcomes import Outcomes
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
        """Cells that have to wait for a run of another cell: one with the same key, a stage, trials on other scenes."""
        self._outcomes = Outcomes(search, execution, journal)
        self.scene_choices = SceneChoices(self.cells, self.stages, records, search.round)
        self._chosen: dict[str, Mapping[str, Any]] = {}
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
            if state.planned.choosers:  # what has ended elsewhere may have left it nothing to do
                self._close_if_done(state)
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
                self._outcomes.put(state, record)
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
                self._outcomes.put(state, state.slots[twin].with_(attempt=record.attempt + 1, state="running"))
            record = state.slots[slot]
        segment = state.segment(record, until, is_new_attempt=is_new)
        self.in_flight[segment.lease_id] = segment
        state.in_flight += 1
        self.journal.segment_started(state.planned, segment, state.twins(record.key))
        return segment

    def _settle(self, state: CellState, fold: int) -> None:
        for key, reason in rounds.stopped_at_rung(state, fold, self.search):
            self._outcomes.close(state, key, "stopped", {}, stop_reason=reason)

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
                self._outcomes.reached(state, segment, event)
            elif event["kind"] == "failed" or not self.stop_reason:
                self._attempted.discard(segment.spec.key)
                why = self._outcomes.failed(state, segment, event)
                self.stop_reason = self.stop_reason or why
            fold = segment.spec.fold
            self._settle(state, fold)
            self._close_if_done(state)
            if state.is_closed and state.planned.stage != "final":
                for waiting in list(self._waiting.values()):  # it may have waited for what has failed now
                    self._close_if_done(waiting)
            for changed in (state, *self._waiting.values()):
                self._queue.touch(changed)
            self._waiting.clear()

    def _close_if_done(self, state: CellState, *, is_start: bool = False) -> None:
        if state.is_closed or state.in_flight:
            return
        if self.stages.are_waited_for(state) or self.scene_choices.is_waited_for(state):
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
        params = self._chosen_elsewhere(state) if state.planned.candidates_id else state.final_params(fold)
        if params is None:
            return None  # every trial failed, or other scenes have not chosen yet: there is nothing to repeat
        key = state.final_key(seed, params)
        slot = state.last_slot(seed)
        record = state.slots.get(slot)
        if record is not None and record.key != key:
            if record.attempt:  # one that was never started has no run yet
                self.journal.superseded(state.planned, record)
            record = None
        if record is None:
            record = SlotRecord(slot=slot, key=key, params=dict(params), attempt=0)
            self._outcomes.put(state, record)
        return record

    def _chosen_elsewhere(self, state: CellState) -> Mapping[str, Any] | None:
        """What the other scenes have chosen for a cell; written down before any final run of it starts.

        It stands for the rest of this start: all trials that it rests on are closed.
        """
        if state.cell_id not in self._chosen:
            choice = self.scene_choices.choice(state)
            if choice is None:
                return None
            recorded = self.scene_choices.recorded(state)
            if recorded is None or recorded.to_text() != choice.to_text():
                self.journal.chosen(state.planned, choice.to_text(), list(choice.scores))
            self._chosen[state.cell_id] = choice.params
        return self._chosen[state.cell_id]
