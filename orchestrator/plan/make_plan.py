"""From a grid and what is known about its data, weights and finished runs to a plan. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.config import GridConfig
from orchestrator.errors import ConfigError, unknown
from orchestrator.plan import cost
from orchestrator.plan.cells import Cell
from orchestrator.plan.choices import instantiate
from orchestrator.plan.compatibility import incompatibility
from orchestrator.plan.draft import draft
from orchestrator.plan.epochs import epochs_problem
from orchestrator.plan.expand import ExpandedCell, expand, pattern_names
from orchestrator.plan.facts import DatasetStatus, WeightsStatus
from orchestrator.plan.leave_one_scene_out import settled, with_choosers
from orchestrator.plan.planned import Plan, PlannedCell
from orchestrator.plan.provenance import used_weights
from orchestrator.plan.resources import placed
from orchestrator.plan.run_spec import content_hash
from orchestrator.plan.selection import task_mismatch
from orchestrator.plan.stage_templates import own_pretraining, pretraining_problem, transfer_problem
from orchestrator.plan.stages import shared_cells
from orchestrator.plan.states import judge, tally
from strategies._base import OwnPretraining, Strategy

Slots = Mapping[str, str]
"""State of each slot of a cell, as the ledger knows it."""


def make_plan(
    grid: GridConfig,
    dataset_status: Mapping[str, DatasetStatus],
    weights_status: Mapping[str, WeightsStatus],
    records: Mapping[str, Slots],
    groups: int | None = None,
    measured_s: Mapping[str, float] | None = None,
    *,
    cpus: int | None = None,
    gpus: int | None = None,
    expanded: Sequence[ExpandedCell] | None = None,
) -> Plan:
    """The plan of a grid.

    Args:
        grid: a valid grid.
        dataset_status: status of every data set, by the name that the grid uses.
        weights_status: status of the pretrained weights, by what `provenance.used_weights` calls them.
        records: state of the slots that the ledger knows, by cell id.
        groups: worker groups to assume; None = as many as the grid asks for or `cpus` hold.
        measured_s: wall-clock seconds of one optimiser step, by cell id or strategy name.
        cpus: CPUs of the machine; None where the cluster is not known yet.
        gpus: its GPUs; None where the cluster is not known yet.
        expanded: `expand(grid, ...)` where the caller has it already.

    Raises:
        ConfigError: an unknown strategy or field, a label budget or selection that is not allowed, no second scene to
            choose hyperparameters on, or shares of GPUs for groups of several workers.
    """
    grid = settled(grid)
    if expanded is None:
        expanded = expand(grid, pattern_names(dataset_status))
    strategies = {id(one.cell.strategy): one.cell.strategy for one in expanded}
    made = {number: instantiate(choice) for number, choice in strategies.items()}
    cells = [
        _plan_cell(grid, one, made[id(one.cell.strategy)], dataset_status, weights_status, records, measured_s or {})
        for one in expanded
    ]
    _refuse_equal_cells(cells)
    cells = with_choosers(cells, records)
    shared = shared_cells(cells, records)
    plan = Plan(name=grid.name, grid=grid, cells=tuple(cells), shared=shared, search=grid.search)
    return placed(plan, cpus=cpus, gpus=gpus, groups=groups)


def _refuse_equal_cells(cells: Sequence[PlannedCell]) -> None:
    """Two names for the same runs would fight over them in the ledger.

    Raises:
        ConfigError: two entries of the grid resolve to the same trainings.
    """
    strategies = {id(planned.cell.strategy): planned.cell.strategy for planned in cells}
    fields = {number: content_hash([choice.name, choice.fields]) for number, choice in strategies.items()}
    seen: dict[tuple[Any, ...], PlannedCell] = {}
    for planned in cells:
        cell = planned.cell
        train = tuple(sorted(planned.train.items()))
        runs = (fields[id(cell.strategy)], cell.dataset, cell.label_budget, train, planned.split)
        other = seen.setdefault(runs, planned)
        if other is not planned:
            raise ConfigError(
                f"strategies {other.cell.strategy.label!r} and {cell.strategy.label!r} are the same trainings on "
                f"{cell.dataset} at {cell.label_budget}: a field is fixed to its default; give one of them"
            )


def _plan_cell(
    grid: GridConfig,
    expanded: ExpandedCell,
    strategy: Strategy,
    dataset_status: Mapping[str, DatasetStatus],
    weights_status: Mapping[str, WeightsStatus],
    records: Mapping[str, Slots],
    measured_s: Mapping[str, float],
) -> PlannedCell:
    cell = expanded.cell
    status = dataset_status[cell.dataset]
    loaded = used_weights(strategy)
    weights = weights_status[loaded] if loaded else None
    own = own_pretraining(strategy)
    sources = [_source(name, dataset_status, cell) for name in own.sources] if own else []
    planned = draft(grid, expanded, strategy, status, weights, sources)
    slots = records.get(planned.cell_id, {}) if planned.cell_id else {}
    counted = tally(planned, slots)
    verdict = judge(
        counted,
        seeds=planned.seeds,
        is_started=bool(slots),
        incompatible=incompatibility(strategy, status.facts)
        or epochs_problem(expanded.train, status.facts, strategy)
        or task_mismatch(status.facts, planned.split, cell.label_budget, planned.selection)
        or (transfer_problem(strategy, [one.facts for one in sources], status.facts) if own else ""),
        dataset=status,
        weights=weights,
        stage=_stage_problem(strategy, own, sources, planned) if own else ("", ""),
    )
    step_s, is_measured = cost.step_seconds(planned, strategy.reference_step_s, measured_s)
    pretraining_s = measured_s.get(cost.pretraining_name(cell.strategy.name), planned.pretraining_step_s)
    device_s, left_s = cost.device_seconds(planned, grid.search, step_s, counted)
    return replace(
        planned,
        state=verdict.state,
        reason=verdict.reason,
        remedy=verdict.remedy,
        runs_total=counted.total,
        runs_done=counted.done,
        runs_failed=counted.failed,
        pretraining_step_s=pretraining_s,
        device_s=device_s,
        device_left_s=0.0 if verdict.state in ("done", "blocked") else left_s,
        is_measured=is_measured,
        disk_gib=cost.disk_gib(planned, counted.total),
    )


def _stage_problem(
    strategy: Strategy, own: OwnPretraining, sources: Sequence[DatasetStatus], planned: PlannedCell
) -> tuple[str, str]:
    return pretraining_problem(
        own,
        sources,
        unlabelled_windows=strategy.unlabelled_windows,
        world_size=int(planned.train.get("world_size", 1)),
    )


def _source(name: str, known: Mapping[str, DatasetStatus], cell: Cell) -> DatasetStatus:
    if name not in known:
        raise unknown(f"source data set of {cell.strategy.label}", name, tuple(known))
    return known[name]
