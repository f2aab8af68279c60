"""Leave one scene out: hyperparameters of a cell are chosen on the same strategy and budget at the other scenes. Pure.

With few labels a class there is nothing to tune on. So the trials of a strategy at a label budget are drawn once, the
same for every data set of the grid; each is trained on a scene's few labels and scored on the validation
labels of that scene, which would be no few-shot labels any more if they chose for the scene itself: they choose for
the others alone. A cell's own trials never choose for it, nor do those of a data set that shows the same place.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from orchestrator.config import GridConfig
from orchestrator.errors import ConfigError
from orchestrator.plan.cells import Cell
from orchestrator.plan.planned import Chooser, PlannedCell
from orchestrator.plan.run_spec import content_hash
from orchestrator.plan.selection import LEAVE_ONE_SCENE_OUT
from orchestrator.plan.states import tally

DRAWS_NOTE = (
    "leave_one_scene_out: trials are drawn at random, the same on every scene, and none is stopped early "
    "(search.sampler and search.stopping play no part)"
)
Slots = Mapping[str, str]


def settled(grid: GridConfig) -> GridConfig:
    """The grid with the search that leave_one_scene_out makes of it: a candidate is scored on all scenes, or nowhere.

    Draws that learned from scores would differ from scene to scene, and a stopped trial has no score to compare.
    """
    if grid.search.selection != LEAVE_ONE_SCENE_OUT:
        return grid
    return replace(grid, search=replace(grid.search, sampler="random", stopping="none"))


def candidates_id_of(cell: Cell) -> str:
    """What the trials of a cell are drawn for: the strategy with its fields, the label budget, the block's split."""
    choice = cell.strategy
    own = (choice.name, choice.fields, choice.fixed, choice.normalisation)
    return content_hash(["candidates", *own, vars(cell.label_budget), cell.split])


def with_choosers(cells: Sequence[PlannedCell], records: Mapping[str, Slots]) -> list[PlannedCell]:
    """The cells, each with the cells that choose for it and with what that means for its state.

    Args:
        cells: judged cells of a plan; `candidates_id` says which try the same candidates.
        records: state of the slots that the ledger knows, by cell id.

    Raises:
        ConfigError: candidates that are tried on one scene only.
    """
    groups: dict[str, list[PlannedCell]] = {}
    for planned in cells:
        if planned.candidates_id:
            groups.setdefault(planned.candidates_id, []).append(planned)
    for members in groups.values():
        _refuse_one_scene(members)
    return [_with_choosers(one, groups[one.candidates_id], records) if one.candidates_id else one for one in cells]


def _refuse_one_scene(members: Sequence[PlannedCell]) -> None:
    places = {one.facts.place for one in members}
    if len(places) > 1:
        return
    (place,), names = places, [one.cell.dataset for one in members]
    shared = f", which all show {place!r}" if len(names) > 1 else ""
    cell = members[0].cell
    raise ConfigError(
        f"search.selection 'leave_one_scene_out' needs another scene to choose on: {cell.strategy.label} with the "
        f"label budget {cell.label_budget} runs on {', '.join(names)} alone{shared}; allowed: at least 2 scenes for "
        "every strategy and label budget; add a data set of another place to the grid, or set search.selection=auto"
    )


def _with_choosers(planned: PlannedCell, members: Sequence[PlannedCell], records: Mapping[str, Slots]) -> PlannedCell:
    others = [one for one in members if one.facts.place != planned.facts.place]
    choosers = tuple(
        Chooser(
            dataset=one.cell.dataset,
            place=one.facts.place,
            cell_id=one.cell_id,
            folds=one.folds_used,
            blocked=one.reason if one.state == "blocked" else "",
        )
        for one in others
    )
    changed = replace(planned, choosers=choosers, notes=(*planned.notes, DRAWS_NOTE))
    if planned.state == "blocked":
        return changed
    usable = [one for one in others if one.state != "blocked"]
    if not usable and planned.state != "done":
        first = others[0]
        reason = f"no other scene to choose hyperparameters on: {first.cell.dataset}: {first.reason}"
        return replace(changed, state="blocked", reason=reason, remedy=first.remedy, device_left_s=0.0)
    counted = {one.cell.dataset: tally(one, records.get(one.cell_id or "", {})) for one in usable}
    trials = {one.cell.dataset: one.trials * len(one.folds_used) for one in usable}
    if planned.state == "done":
        late = [name for name, of in counted.items() if of.search_closed < trials[name]]
        if not late:
            return changed
        reason = f"{planned.reason}; trials on {_names(late)} are to do, which may choose other hyperparameters"
        return replace(changed, state="partial", reason=reason)
    if all(of.search_failed == trials[name] for name, of in counted.items()):
        reason = f"all trials on {_names(counted)} failed, so that no hyperparameters can be chosen"
        return replace(changed, state="failed", reason=reason, remedy="see `hsfm-sweep status --grid NAME`")
    return replace(changed, reason=f"{planned.reason}; hyperparameters are chosen on {_names(counted)}")


def _names(names: Iterable[str]) -> str:
    found = list(names)
    return found[0] if len(found) == 1 else f"{', '.join(found[:-1])} and {found[-1]}"
