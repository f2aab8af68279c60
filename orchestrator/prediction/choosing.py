"""Which final run of a sweep is meant: that of the best cell, of a named cell, or by key. Test scores play no part."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.api_plan import SweepView
from orchestrator.errors import ConfigError, unknown
from orchestrator.execution.tallies import SELECTION, best_final
from orchestrator.ledger.records import CellRecord, SlotRecord

BEST = "best"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One final run and why it is the one."""

    cell: CellRecord
    slot: SlotRecord
    why: str


def choose(model: str, view: SweepView, dataset: str | None) -> Choice:
    """The final run that `model` names.

    Args:
        model: "best", the id or the name of a cell, or the key of a final run.
        view: the sweep.
        dataset: of the best cell; needed where the sweep has several.

    Raises:
        ConfigError: nothing of that name, nothing finished, or several data sets to choose from.
    """
    records = _records(view)
    if model == BEST:
        return _best(view, records, dataset)
    if model in view.records:
        return _of_cell(view.records[model])
    for known in (records, view.records):
        named = [r for r in known.values() if _is_named(r, model, dataset)]
        if len(named) > 1:
            ids = ", ".join(f"{r.cell_id} ({cell_name(r)})" for r in named)
            raise ConfigError(f"{len(named)} cells fit {model!r}; allowed: the id of one of them: {ids}")
        if named:
            return _of_cell(named[0])
    return _of_key(model, view.records)


def _is_named(record: CellRecord, model: str, dataset: str | None) -> bool:
    """Whether it is the cell's name, or the label of its strategy."""
    fits = model in (cell_name(record), record.tags.get("hsfm.strategy"))
    return fits and dataset in (None, record.tags.get("hsfm.dataset"))


def cell_name(record: CellRecord) -> str:
    """A cell's name as tables show it."""
    return record.tags.get("hsfm.cell_name", record.cell_id)


def finished_finals(record: CellRecord) -> list[SlotRecord]:
    """Final runs of a cell that are finished, by seed."""
    return [r for s, r in sorted(record.slots.items()) if s.startswith("final/") and r.state == "finished"]


def mean_validation(record: CellRecord) -> float | None:
    """Mean over the final runs of the validation score that decides; None where one has none."""
    scores = [slot.scores.get(SELECTION) for slot in finished_finals(record)]
    known = [score for score in scores if score is not None]
    return sum(known) / len(known) if known and len(known) == len(scores) else None


def _records(view: SweepView) -> Mapping[str, CellRecord]:
    """Cells of the grid as it is now; all of the ledger's where data are not at hand, so that ids are not known."""
    planned = {cell.cell_id for cell in view.plan.cells if cell.cell_id}
    return {i: r for i, r in view.records.items() if i in planned} or view.records


def _is_complete(record: CellRecord, view: SweepView) -> bool:
    states = {cell.cell_id: cell.state for cell in view.plan.cells if cell.cell_id}
    return states.get(record.cell_id, record.tags.get("hsfm.state")) == "done"


def _best(view: SweepView, records: Mapping[str, CellRecord], dataset: str | None) -> Choice:
    datasets = sorted({r.tags.get("hsfm.dataset", "") for r in records.values()})
    if dataset is not None and dataset not in datasets and records:
        raise unknown("data set of this sweep", dataset, datasets)
    if dataset is None and len(datasets) > 1:
        raise ConfigError(
            f"this sweep has {len(datasets)} data sets, and a model fits one sensor; allowed: --dataset with one of "
            f"{', '.join(datasets)}"
        )
    wanted = [r for r in records.values() if dataset in (None, r.tags.get("hsfm.dataset"))]
    complete = [r for r in wanted if _is_complete(r, view) and finished_finals(r)]
    if not complete:
        finals = sum(len(finished_finals(r)) for r in wanted)
        advice = (
            f"{finals} final runs of cells that are not complete are finished; name a cell, or finish the sweep"
            if finals
            else f"no final run is finished; run the sweep first: hsfm-sweep --grid {view.plan.name}"
        )
        raise ConfigError(
            f"sweep {view.plan.name!r} in {view.folder} has no complete cell to choose the best of: {advice}"
        )
    real = [r for r in complete if r.tags.get("hsfm.init") != "synthetic"]
    # validation pixels of a random split lie beside training pixels: their scores would win over those of blocks
    real = [r for r in real if r.tags.get("hsfm.split") != "random"] or real
    scored = {r.cell_id: mean for r in real if (mean := mean_validation(r)) is not None}
    if not scored:
        raise ConfigError(
            "no cell of this sweep has validation scores (synthetic weights do not count), so that no best one can be "
            "chosen without looking at test labels; allowed: the name of a cell: "
            f"{'; '.join(cell_name(r) for r in complete)}"
        )
    best = max((r for r in complete if r.cell_id in scored), key=lambda r: scored[r.cell_id])
    metric = view.plan.search.metric
    why = (
        f"best of {len(scored)} complete cell(s) by mean validation {metric} of their final runs "
        f"({scored[best.cell_id]:.4f}); of its seeds the best on validation"
    )
    others = len(view.records) - len(records)
    if others:
        why += f"; {others} cells in the ledger that are not of the grid as it is now were left out"
    return _of_cell(best, why)


def _of_cell(record: CellRecord, why: str = "of the cell's seeds the best on validation") -> Choice:
    slot = best_final(record.slots)
    if slot is None:
        raise ConfigError(
            f"cell {cell_name(record)!r} has no finished final run, and only those leave a model; "
            "finish the sweep, or name another cell"
        )
    return Choice(cell=record, slot=slot, why=why)


def _of_key(key: str, records: Mapping[str, CellRecord]) -> Choice:
    owners = [(record, slot) for record in records.values() for slot in record.slots.values() if slot.key == key]
    finals = [(record, slot) for record, slot in owners if slot.slot.startswith("final/")]
    done = [(record, slot) for record, slot in finals if slot.state in ("finished", "superseded")]
    if done:
        return Choice(cell=done[0][0], slot=done[0][1], why="named by its key")
    if finals:
        raise ConfigError(f"final run {key} is {finals[0][1].state}; allowed: a finished one; finish the sweep first")
    if owners:
        keys = ", ".join(slot.key for slot in finished_finals(owners[0][0])) or "none yet"
        raise ConfigError(
            f"run {key} is a trial of the search, which leaves no model; allowed: best, a cell, or the key of a final "
            f"run of {cell_name(owners[0][0])!r}: {keys}"
        )
    known = [BEST, *(cell_name(record) for record in records.values() if finished_finals(record))]
    raise unknown(
        "model", key, known, hint="A cell's id, a final run's key, a folder or a models:/ URI will do as well."
    )
