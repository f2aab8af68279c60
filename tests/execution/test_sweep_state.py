"""The sweep's decisions: a function of recorded slots, not of the order of events."""

from __future__ import annotations

import random
from collections import Counter
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import pytest

from orchestrator.config import ExecutionConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.datasets.registry import get_facts
from orchestrator.execution.cell_state import SELECTION
from orchestrator.execution.segments import Segment
from orchestrator.execution.sweep_state import SweepState
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.plan.facts import DatasetStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import content_hash


class MemoryJournal:
    """Keeps what would be in the ledger, and counts trainings."""

    def __init__(self, records: dict[str, dict[str, SlotRecord]] | None = None) -> None:
        self.records = records if records is not None else {}
        self.trained: Counter[str] = Counter()
        self.superseded_keys: list[str] = []
        self.closed_cells: list[str] = []

    def put_slot(self, cell_id: str, record: SlotRecord) -> None:
        self.records.setdefault(cell_id, {})[record.slot] = record

    def together(self) -> AbstractContextManager[object]:
        return nullcontext()

    def segment_started(self, planned: PlannedCell, segment: Segment, slots: Any) -> None: ...
    def progressed(self, segment: Segment, points: Any) -> None: ...
    def noted(self, planned: PlannedCell, segment: Segment, text: str) -> None: ...
    def attempt_failed(self, planned: PlannedCell, segment: Segment, **told: str) -> None: ...

    def run_closed(self, planned: PlannedCell, record: SlotRecord, event: Any) -> None:  # noqa: ARG002
        self.trained[record.key] += 1

    def superseded(self, planned: PlannedCell, record: SlotRecord) -> None:  # noqa: ARG002
        self.superseded_keys.append(record.key)

    def cell_closed(self, planned: PlannedCell, slots: Any) -> None:  # noqa: ARG002
        self.closed_cells.append(str(planned.cell_id))

    def cells(self) -> dict[str, CellRecord]:
        return {c: CellRecord(cell_id=c, slots=dict(s)) for c, s in self.records.items()}


def plan_cells(
    *, trials: int = 8, seeds: int = 2, budgets: tuple[float, ...] = (0.1, 0.5)
) -> tuple[list[PlannedCell], GridConfig]:
    grid = GridConfig(
        strategies=["in_domain/unet", "in_domain/svm_rbf"],
        datasets=["indian_pines"],
        label_budgets=list(budgets),
        seeds=seeds,
        search=SearchConfig(trials=trials, round=4),
        train=TrainConfig(steps=100),
    )
    status = DatasetStatus(facts=get_facts("indian_pines"), digest="0" * 16, files_present=True)
    return list(make_plan(grid, {"indian_pines": status}, {}, {}).cells), grid


def score(segment: Segment) -> float:
    """A validation score that depends on the run and its length alone."""
    return int(content_hash({"key": segment.spec.key, "step": segment.until_step}), 16) / 16**16


def run(
    journal: MemoryJournal,
    cells: list[PlannedCell],
    grid: GridConfig,
    *,
    groups: int,
    seed: int,
    stop_after: int | None = None,
    loss_rate: float = 0.0,
) -> SweepState:
    """Drive the sweep with runs that end in random order, on `groups` groups; optionally 'kill' it on the way."""
    rng = random.Random(seed)
    execution = ExecutionConfig(max_attempts=100)
    state = SweepState(cells, journal.cells(), search=grid.search, execution=execution, journal=journal)
    flying: list[Segment] = []
    ended = 0
    while True:
        while (segment := state.next_segment(limit=groups)) is not None:
            flying.append(segment)
        if not flying:
            assert state.is_finished
            return state
        segment = flying.pop(rng.randrange(len(flying)))
        if rng.random() < loss_rate:
            state.on_end(segment.lease_id, {"kind": "lost", "reason": "worker died"})
            continue
        value = score(segment)
        scores = {f"val/best_{grid.search.metric}": value, "test/miou": value / 2}
        state.on_end(
            segment.lease_id, {"kind": "reached", "step": segment.until_step, "scores": scores, "seconds": 1.0}
        )
        ended += 1
        if stop_after is not None and ended >= stop_after:
            return state


def outcome(journal: MemoryJournal) -> dict[str, dict[str, tuple[Any, ...]]]:
    """What must be the same however the sweep went."""
    return {
        cell: {
            n: (r.key, r.state, r.reached_step, tuple(sorted(r.scores.items())), tuple(sorted(r.params.items())))
            for n, r in slots.items()
        }
        for cell, slots in journal.records.items()
    }


@pytest.mark.parametrize(("groups", "seed"), [(1, 1), (2, 2), (3, 3), (10, 4)])
def test_any_number_of_groups_and_any_timing_choose_the_same_trials_and_winners(groups: int, seed: int) -> None:
    cells, grid = plan_cells()
    reference, other = MemoryJournal(), MemoryJournal()
    run(reference, cells, grid, groups=1, seed=0)
    run(other, cells, grid, groups=groups, seed=seed)
    assert outcome(other) == outcome(reference)


@pytest.mark.parametrize("stop_after", [1, 3, 7, 12, 20, 31])
def test_a_sweep_killed_at_any_moment_ends_like_an_undisturbed_one(stop_after: int) -> None:
    cells, grid = plan_cells()
    reference, killed = MemoryJournal(), MemoryJournal()
    run(reference, cells, grid, groups=2, seed=0)
    run(killed, cells, grid, groups=2, seed=5, stop_after=stop_after)
    run(killed, cells, grid, groups=1, seed=6)
    assert outcome(killed) == outcome(reference)


def test_lost_workers_change_nothing_but_attempts() -> None:
    cells, grid = plan_cells()
    reference, shaken = MemoryJournal(), MemoryJournal()
    run(reference, cells, grid, groups=2, seed=0)
    run(shaken, cells, grid, groups=3, seed=9, loss_rate=0.3)
    assert outcome(shaken) == outcome(reference)
    assert max(r.attempt for s in shaken.records.values() for r in s.values()) > 1


def test_machines_that_go_away_use_up_no_attempts_and_are_counted_apart() -> None:
    cells, grid = plan_cells(trials=0, seeds=1, budgets=(0.1,))
    journal = MemoryJournal()
    execution = ExecutionConfig(max_attempts=2, max_lost_nodes=5)
    state = SweepState(cells, {}, search=grid.search, execution=execution, journal=journal)
    segment = state.next_segment(limit=1)
    assert segment is not None
    leases = set()
    for number, cause in enumerate(["node_lost"] * 5 + ["lost"]):
        assert segment.lease_id not in leases
        leases.add(segment.lease_id)
        state.on_end(segment.lease_id, {"kind": "lost", "cause": cause, "reason": "went away", "lost_steps": 7})
        record = journal.records[segment.cell_id][segment.slot]
        assert record.lost_steps == 7 * (number + 1)
        assert (record.state, record.lost_nodes) == ("running", min(number + 1, 5))
        segment = state.next_segment(limit=1)
        assert segment is not None
    state.on_end(segment.lease_id, {"kind": "lost", "reason": "worker died"})
    assert journal.records[segment.cell_id][segment.slot].state == "failed"


def test_no_finished_run_is_trained_twice() -> None:
    cells, grid = plan_cells()
    journal = MemoryJournal()
    run(journal, cells, grid, groups=2, seed=0, stop_after=15)
    run(journal, cells, grid, groups=2, seed=1)
    assert set(journal.trained.values()) == {1}
    state = SweepState(cells, journal.cells(), search=grid.search, execution=ExecutionConfig(), journal=journal)
    assert not state.has_work()


def test_half_of_a_round_is_stopped_at_the_rung_and_says_why() -> None:
    cells, grid = plan_cells(trials=4)
    journal = MemoryJournal()
    run(journal, cells, grid, groups=2, seed=0)
    unet = next(c for c in cells if c.kind == "network")
    records = [r for s, r in journal.records[str(unet.cell_id)].items() if s.startswith("search/")]
    stopped = [r for r in records if r.state == "stopped"]
    assert len(stopped) == 2
    assert all("rung at step 50" in r.stop_reason for r in stopped)
    best_kept = min(r.scores[SELECTION] for r in records if r.state == "finished")
    assert best_kept > 0


def test_more_trials_extend_the_same_cell_and_supersede_finals_of_a_former_winner() -> None:
    few, grid = plan_cells(trials=4)
    many, larger = plan_cells(trials=16)
    journal = MemoryJournal()
    run(journal, few, grid, groups=2, seed=0)
    before = {k: v.key for s in journal.records.values() for k, v in s.items() if k.startswith("search/")}
    run(journal, many, larger, groups=2, seed=0)
    after = {k: v.key for s in journal.records.values() for k, v in s.items() if k.startswith("search/")}
    assert {k: after[k] for k in before} == before
    assert set(journal.trained.values()) == {1}
    assert journal.superseded_keys


def test_one_failed_trial_leaves_the_others_and_the_cell_intact() -> None:
    cells, grid = plan_cells(trials=4, budgets=(0.1,))
    journal = MemoryJournal()
    state = SweepState(cells, {}, search=grid.search, execution=ExecutionConfig(), journal=journal)
    failed = 0
    while (segment := state.next_segment(limit=1)) is not None:
        if segment.slot == "search/f0/1" and "unet" in segment.spec.strategy:
            failed += 1
            state.on_end(
                segment.lease_id, {"kind": "failed", "cause": "run_error", "error": "FloatingPointError: loss is nan"}
            )
            continue
        scores = {f"val/best_{grid.search.metric}": score(segment)}
        state.on_end(
            segment.lease_id, {"kind": "reached", "step": segment.until_step, "scores": scores, "seconds": 1.0}
        )
    assert failed == 1
    states = Counter(r.state for s in journal.records.values() for n, r in s.items() if n.startswith("final/"))
    assert states == {"finished": 4}


def test_the_same_error_in_cell_after_cell_stops_the_sweep_with_a_diagnosis() -> None:
    cells, grid = plan_cells(trials=4, budgets=(0.1, 0.2, 0.5))
    state = SweepState(
        cells, {}, search=grid.search, execution=ExecutionConfig(same_error_limit=3), journal=MemoryJournal()
    )
    while (segment := state.next_segment(limit=10)) is not None:
        state.on_end(segment.lease_id, {"kind": "failed", "cause": "run_error", "error": "OSError: disk is full"})
    assert "3 cells in a row" in state.stop_reason
    assert "disk is full" in state.stop_reason


def test_a_run_out_of_memory_is_tried_in_2_then_4_then_8_parts_until_its_batch_cannot_be_split() -> None:
    cells, grid = plan_cells(trials=0, seeds=1, budgets=(0.1,))
    journal = MemoryJournal()
    state = SweepState(cells, {}, search=grid.search, execution=ExecutionConfig(), journal=journal)
    parts = []
    while (segment := state.next_segment(limit=1)) is not None:
        if "unet" not in segment.spec.strategy:
            state.on_end(
                segment.lease_id, {"kind": "reached", "step": segment.until_step, "scores": {}, "seconds": 1.0}
            )
            continue
        parts.append(segment.micro_batches)
        event = {"kind": "failed", "cause": "out_of_memory", "error": "full", "can_split": segment.micro_batches < 8}
        state.on_end(segment.lease_id, event)
    assert parts == [1, 2, 4, 8]
    assert {r.state for s in journal.records.values() for r in s.values() if r.cause} == {"failed"}
