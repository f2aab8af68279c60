"""Cells and their runs under way, from the plan and the ledger's records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.config import SearchConfig
from orchestrator.execution.remaining import StageWork, stage_works
from orchestrator.execution.tallies import best_trial, mean_test, stage_of, trial_order
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.plan.planned import Plan, PlannedCell
from orchestrator.plan.states import Tally, tally
from orchestrator.sweep_status.logs import look_at_log
from orchestrator.sweep_status.model import Beyond, CellStatus, RunStatus


@dataclass
class CellSight:
    """A cell of the grid with its slots in the ledger."""

    planned: PlannedCell
    slots: Mapping[str, SlotRecord]
    """The slots that the grid asks for."""
    matched_by: str
    counted: Tally
    running: list[RunStatus] = field(default_factory=list)
    works: list[StageWork] = field(default_factory=list)


def match(plan: Plan, records: Mapping[str, CellRecord]) -> tuple[list[CellSight], Beyond]:
    """Each cell of the plan with its record, and what the ledger holds beyond the plan.

    A cell has no id while its data set is not prepared (a new cache, data that were moved away). Then the record of
    its name is taken, where there is just one: what was done does not look undone.
    """
    shared = {str(planned.cell_id) for planned in plan.shared}
    known = {planned.cell_id for planned in plan.cells if planned.cell_id} | shared
    by_name: dict[str, list[str]] = {}
    for cell_id, record in records.items():
        if cell_id not in known:
            by_name.setdefault(record.tags.get("hsfm.cell_name", ""), []).append(cell_id)
    sights, slots_beyond, used = [], 0, set(known)
    for planned in plan.cells:
        cell_id, matched_by = planned.cell_id or "", "cell_id"
        if not cell_id and len(found := by_name.get(str(planned.cell), [])) == 1:
            cell_id, matched_by = found[0], "name"
            used.add(cell_id)
        record_of = records.get(cell_id)
        everything = record_of.slots if record_of else {}
        counted = tally(planned, {name: one.state for name, one in everything.items()})
        slots = {name: one for name, one in everything.items() if _is_asked_for(planned, name)}
        slots_beyond += len(everything) - len(slots)
        sights.append(CellSight(planned, slots, matched_by if record_of else "", counted))
    others = [record for cell_id, record in records.items() if cell_id not in used]
    done = sum(slot.state in ("finished", "stopped") for record in others for slot in record.slots.values())
    return sights, Beyond(cells=len(others), runs_done=done, slots=slots_beyond)


def match_stages(plan: Plan, records: Mapping[str, CellRecord]) -> list[CellSight]:
    """Each stage that cells share with its record."""
    sights = []
    for planned in plan.shared:
        record = records.get(str(planned.cell_id))
        slots = dict(record.slots) if record else {}
        counted = tally(planned, {name: one.state for name, one in slots.items()})
        sights.append(CellSight(planned, slots, "cell_id" if record else "", counted))
    return sights


def _is_asked_for(planned: PlannedCell, slot: str) -> bool:
    numbers = trial_order(slot)
    if stage_of(slot) == "search":
        return len(numbers) == 2 and numbers[0] in planned.folds_used and numbers[1] < planned.trials
    return stage_of(slot) == "final" and len(numbers) == 1 and numbers[0] in planned.final_seeds


def find_running(sight: CellSight, search: SearchConfig, logs: Path, *, is_driven: bool) -> None:
    """Fill in the runs under way with their newest step. A slot that was only drawn has no attempt yet."""
    planned = sight.planned
    steps = int(planned.train["steps"])
    under_way = {n: r for n, r in sight.slots.items() if r.state == "running" and r.attempt >= 1}
    newest: dict[str, int] = {}
    for name, record in under_way.items():
        path = logs / f"{record.key}.log"
        log = look_at_log(path)
        newest[name] = min(steps, max(log.step, record.reached_step))
        if any(run.key == record.key for run in sight.running):  # two slots with one key are one training
            continue
        waits = _waits_at_its_rung(name, under_way, search.round)
        sight.running.append(
            RunStatus(
                cell_id=planned.cell_id or "",
                cell=str(planned.cell),
                slot=name,
                key=record.key,
                state=("at_rung" if waits else "running") if is_driven else "interrupted",
                attempt=record.attempt,
                step=newest[name],
                steps=steps,
                reported_s_ago=None if log.age_s is None else round(log.age_s, 1),
                error=record.error,
                log=str(path),
            )
        )
    sight.works = stage_works(planned, search, sight.slots, newest)


def _waits_at_its_rung(slot: str, under_way: Mapping[str, SlotRecord], round_size: int) -> bool:
    """A rung is decided when all trials of the round have reached it: whoever is ahead of another one waits."""
    if stage_of(slot) != "search":
        return False
    fold, number = trial_order(slot)
    for other, record in under_way.items():
        if stage_of(other) == "search" and record.reached_step < under_way[slot].reached_step:
            other_fold, other_number = trial_order(other)
            if other_fold == fold and other_number // round_size == number // round_size:
                return True
    return False


def cell_status(sight: CellSight, metric: str, left_s: float | None, *, is_driven: bool) -> CellStatus:
    """The cell as data."""
    planned, slots, counted = sight.planned, sight.slots, sight.counted
    finals = planned.seeds
    best = None if planned.candidates_id else best_trial(slots, metric)  # those choose for other scenes
    running = sum(run.state != "interrupted" for run in sight.running)
    interrupted = sum(run.state == "interrupted" for run in sight.running)
    state = _state(sight, is_driven=is_driven)
    seconds = {record.key: record.seconds for record in slots.values()}
    return CellStatus(
        cell_id=planned.cell_id,
        cell=str(planned.cell),
        strategy=planned.cell.strategy.label,
        dataset=planned.cell.dataset,
        label_budget=str(planned.cell.label_budget),
        split=planned.split,
        state=state,
        reason=planned.reason,
        remedy=planned.remedy,
        optional=planned.optional,
        runs=counted.total,
        runs_done=counted.done,
        runs_failed=counted.failed,
        search_runs=counted.total - finals,
        search_done=counted.search_done,
        final_runs=finals,
        final_done=counted.finals_done,
        running=running,
        interrupted=interrupted,
        best_validation=best[1] if best else None,
        best_trial=best[0] if best else None,
        mean_test=mean_test(planned, slots, metric) if state == "done" else None,
        seconds=round(sum(seconds.values()), 3),
        left_s=0.0 if state in ("done", "blocked") else left_s,
        matched_by=sight.matched_by,
    )


def _state(sight: CellSight, *, is_driven: bool) -> str:
    planned, counted = sight.planned, sight.counted
    if planned.state == "done" or _is_complete(counted, planned):
        return "done"
    if planned.state in ("blocked", "failed"):
        return planned.state
    if sight.running:
        return "running" if is_driven else "interrupted"
    if is_driven:
        return "waiting"
    return "partial" if sight.slots else "missing"


def _is_complete(counted: Tally, planned: PlannedCell) -> bool:
    """As the plan judges it; the plan itself cannot, where the data set is not prepared here."""
    return counted.finals_done == planned.seeds and counted.search_closed == counted.total - planned.seeds
