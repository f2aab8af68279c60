"""Put a plan together: look at data, weights and the ledger, then call the pure planner. Starts nothing."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import median

from orchestrator.config import GridConfig
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.registry import list_datasets, status
from orchestrator.errors import ConfigError, WeightsError
from orchestrator.execution.machine import whole_cpus, whole_gpus
from orchestrator.ledger.records import CellRecord
from orchestrator.ledger.store import open_ledger
from orchestrator.plan.choices import instantiate
from orchestrator.plan.cost import pretraining_name
from orchestrator.plan.expand import ExpandedCell, expand, pattern_names
from orchestrator.plan.facts import DatasetStatus, WeightsStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import Plan
from orchestrator.plan.provenance import SYNTHETIC, used_weights
from orchestrator.plan.stage_templates import own_pretraining
from strategies._checks import StrategyError
from strategies.backbones._places import locate
from strategies.backbones._spec import NOT_STATED, WeightsSpec
from strategies.backbones._specs import get_spec
from strategies.backbones._synthetic import synthetic_identity, synthetic_path, write_synthetic


@dataclass(frozen=True, kw_only=True)
class SweepView:
    """A sweep as it stands: the plan and what the ledger holds for it."""

    plan: Plan
    records: Mapping[str, CellRecord]
    """By cell id; empty where the sweep was never started."""
    folder: Path
    """The sweep's folder."""


def build_plan(grid: GridConfig, locations: DataLocations, sweep_root: Path, tracking_uri: str | None = None) -> Plan:
    """The plan of a grid against the data, weights and ledger that are at hand; see `view_sweep`."""
    return view_sweep(grid, locations, sweep_root, tracking_uri).plan


def view_sweep(
    grid: GridConfig, locations: DataLocations, sweep_root: Path, tracking_uri: str | None = None
) -> SweepView:
    """The plan of a grid, and the records of its cells.

    Args:
        grid: a valid grid.
        locations: where data lie.
        sweep_root: folder of all sweeps; this one's is `sweep_root / grid.name`.
        tracking_uri: MLflow store; None = the sweep's own.

    Raises:
        ConfigError: an unknown name, or values that exclude each other.
        LedgerError: a store that cannot be read.
    """
    folder = sweep_root / grid.name
    datasets = _dataset_statuses(grid, locations)
    expanded = expand(grid, pattern_names(datasets))
    for name in _sources(expanded):
        datasets.setdefault(name, status(name, locations))
    weights = _weights_statuses(expanded, locations)
    records = open_ledger(folder, grid.name, tracking_uri=tracking_uri, mode="read").cells()
    slots = {cell_id: {name: slot.state for name, slot in r.slots.items()} for cell_id, r in records.items()}
    plan = make_plan(
        grid,
        datasets,
        weights,
        slots,
        measured_s=measured_step_s(records.values()),
        # what a cluster has that is joined is not known before it is joined
        cpus=None if os.environ.get("RAY_ADDRESS") else whole_cpus(),
        gpus=None if os.environ.get("RAY_ADDRESS") else whole_gpus(),
        expanded=expanded,
    )
    return SweepView(plan=plan, records=records, folder=folder)


def failed_cells(plan: Plan, text: str) -> tuple[str, ...]:
    """Ids of the cells with failed runs whose name or id contains `text`.

    Raises:
        ConfigError: there is none.
    """
    failed = [cell for cell in plan.cells if cell.runs_failed and cell.cell_id]
    found = tuple(str(cell.cell_id) for cell in failed if text in str(cell.cell) or text in str(cell.cell_id))
    if found:
        return found
    if not failed:
        raise ConfigError(
            f"nothing of sweep {plan.name!r} has failed, so there is nothing to retry; allowed: a sweep with failed "
            "runs; to go on with what is unfinished, run it"
        )
    raise ConfigError(
        f"no cell with failed runs has {text!r} in its name or id; allowed: a part of one of "
        f"{', '.join(repr(str(cell.cell)) for cell in failed)}; change --cell"
    )


def only(plan: Plan, cell_ids: Collection[str]) -> Plan:
    """The plan with these cells alone."""
    return replace(plan, cells=tuple(cell for cell in plan.cells if cell.cell_id in cell_ids))


def measured_step_s(records: Iterable[CellRecord]) -> dict[str, float]:
    """Wall-clock seconds of one optimiser step, by cell id and by strategy name: medians over what the ledger holds."""
    by_name: dict[str, list[float]] = {}
    for record in records:
        for slot in record.slots.values():
            if slot.state in ("finished", "stopped") and slot.reached_step > 0 and slot.seconds > 0:
                for name in (record.cell_id, _measured_of(slot.slot, record.tags.get("hsfm.strategy_name", ""))):
                    by_name.setdefault(name, []).append(slot.seconds / slot.reached_step)
    return {name: median(values) for name, values in by_name.items() if name}


def _measured_of(slot: str, strategy: str) -> str:
    """What a run's seconds speak for beside its own cell; "" = nothing (an extraction is one long step)."""
    stage = slot.split("/", 1)[0]
    if not strategy or stage == "features":
        return ""
    return pretraining_name(strategy) if stage == "pretrain" else strategy


def _dataset_statuses(grid: GridConfig, locations: DataLocations) -> dict[str, DatasetStatus]:
    names: list[str] = [*grid.datasets, *(name for block in grid.blocks for name in block.datasets)]
    wanted: list[str] = []
    for name in names:
        wanted.extend(list_datasets() if {"*", "?"} & set(name) else [name])
    found = {name: status(name, locations) for name in dict.fromkeys(wanted)}
    _refuse_twins(found)
    return found


def _sources(expanded: Iterable[ExpandedCell]) -> list[str]:
    """Data sets that strategies of the grid pretrain themselves on."""
    found: list[str] = []
    for choice in {id(one.cell.strategy): one.cell.strategy for one in expanded}.values():
        own = own_pretraining(instantiate(choice))
        found.extend(own.sources if own else ())
    return list(dict.fromkeys(found))


def _refuse_twins(found: Mapping[str, DatasetStatus]) -> None:
    """Runs and results know a data set by its own name, so two files must not share one."""
    first: dict[str, str] = {}
    for source, one in found.items():
        if first.setdefault(one.facts.name, source) != source:
            raise ConfigError(
                f"data sets {first[one.facts.name]} and {source} are both named {one.facts.name!r}; allowed: one data "
                "set of a name in a grid; change name in one of the files, or list it once"
            )


def _weights_statuses(expanded: Iterable[ExpandedCell], locations: DataLocations) -> dict[str, WeightsStatus]:
    # the fields decide whether weights are loaded and which, and cells share their strategy's
    choices = {id(one.cell.strategy): one.cell.strategy for one in expanded}.values()
    names = {used_weights(instantiate(choice)) for choice in choices}
    return {name: weights_status(name, locations) for name in sorted(name for name in names if name is not None)}


def weights_status(name: str, locations: DataLocations) -> WeightsStatus:
    """Whether weights are at hand and may be used.

    Args:
        name: as `provenance.used_weights` gives it; a synthetic file counts as at hand, it is written when it is due.
        locations: where files lie, and which licences were accepted.
    """
    if name.startswith(SYNTHETIC):
        return _synthetic_status(name, locations)
    spec = get_spec(name)
    found = locate(name, locations.data_root, locations.cache)
    known = found.sha256 or None
    if spec.consent and spec.consent not in locations.accepted_licences:
        remedy = f"read the licence, then add --accept-license {spec.consent}"
        return WeightsStatus(name=name, sha256=known, reason=licence_problem(spec), remedy=remedy)
    return WeightsStatus(name=name, sha256=known, path=found.path, reason=found.reason, remedy=found.remedy)


def licence_problem(spec: WeightsSpec) -> str:
    """Why weights are not used without a word of the user's."""
    stated = (
        "no licence is stated for them" if spec.licence_weights == NOT_STATED else f"theirs is {spec.licence_weights}"
    )
    note = f" ({spec.licence_note})" if spec.licence_note else ""
    return f"weights {spec.name!r} have no permissive licence: {stated}{note}"


def ready_weights(name: str, locations: DataLocations) -> WeightsStatus:
    """`weights_status`, after a synthetic file that is due was written.

    Raises:
        WeightsError: the cache cannot be written.
    """
    status = weights_status(name, locations)
    if name.startswith(SYNTHETIC) and status.path is not None:
        try:
            write_synthetic(get_spec(status.name), Path(status.path))
        except OSError as error:
            raise WeightsError(
                f"cannot write {status.path}: {error}; set HSFM_CACHE to a writable folder with room"
            ) from error
    return status


def _synthetic_status(name: str, locations: DataLocations) -> WeightsStatus:
    spec = get_spec(name.removeprefix(SYNTHETIC))
    try:
        path, identity = synthetic_path(spec, locations.cache), synthetic_identity(spec)
    except StrategyError as error:
        return WeightsStatus(name=spec.name, reason=str(error))
    return WeightsStatus(name=spec.name, sha256=identity, path=str(path))
