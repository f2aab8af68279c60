"""The slots of a cell, known at plan time, and the run that fills a slot once its hyperparameters are drawn.

A study is one (cell, fold): hyperparameters for the finals of fold f are chosen on fold f only, so that no label
of a final's test side was ever used for a choice.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, replace
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from orchestrator.config import SearchConfig, TrainConfig
from orchestrator.plan.run_spec import RunSpec, content_hash
from orchestrator.plan.stages import stages_of
from strategies._base import Distribution, Strategy

if TYPE_CHECKING:
    from orchestrator.plan.planned import PlannedCell

LATER_SETTINGS: Mapping[str, Any] = MappingProxyType(
    {
        "epochs": 0,
        "early_stopping": 0,
        "schedule": "cosine",
        "loss_average": "labelled",
        "undefined_output": False,
        "feature_cache": True,
    }
)
"""Settings that came later, with the value that their absence means in older keys; never the default of today."""
SEARCH_SEED = 10_000
"""Search draws other labelled subsets than any final: its seeds start here."""


def search_slots(planned: PlannedCell) -> tuple[str, ...]:
    """Names of the trials of all studies of a cell: `search/f<fold>/<trial number>`, fold by fold."""
    return tuple(f"search/f{fold}/{trial}" for fold in planned.folds_used for trial in range(planned.trials))


def final_slots(planned: PlannedCell) -> tuple[str, ...]:
    """Names of the final runs of a cell: `final/<seed>`; of a shared stage `pretrain/<seed>` or `features/<seed>`."""
    return tuple(f"{planned.stage}/{seed}" for seed in planned.final_seeds)


def fold_of_seed(planned: PlannedCell, seed: int) -> int:
    """The cross-validation fold of final seed `seed`."""
    return planned.folds_used[seed % len(planned.folds_used)]


def search_spec(planned: PlannedCell, fold: int, trial: int, params: Mapping[str, Any]) -> RunSpec:  # noqa: ARG001
    """The run of one trial. The trial's number is no part of it: two trials with equal parameters are one run.

    Raises:
        ValueError: the data set is not prepared, so the cell has no template yet.
    """
    seed = SEARCH_SEED + fold
    template = _template(planned)
    fields = {**template.fields, **params}
    keys = tuple(one.key for one in stages_of(planned, fold, seed, is_search=True))
    return replace(template, fields=fields, stage="search", fold=fold, seed=seed, subset_seed=seed, depends_on=keys)


def final_spec(planned: PlannedCell, seed: int, params: Mapping[str, Any]) -> RunSpec:
    """The run of one final seed with the winner's parameters.

    Raises:
        ValueError: the data set is not prepared, so the cell has no template yet.
    """
    template = _template(planned)
    if planned.stage != "final":
        return template
    fields = {**template.fields, **params}
    fold = fold_of_seed(planned, seed)
    keys = tuple(one.key for one in stages_of(planned, fold, seed, is_search=False))
    return replace(template, fields=fields, stage="final", fold=fold, seed=seed, subset_seed=seed, depends_on=keys)


def evaluation_steps(steps: int, evaluations: int) -> list[int]:
    """Evenly spaced optimiser steps, the last one `steps`."""
    count = max(1, min(evaluations, steps))
    return sorted({max(1, round(steps * (i + 1) / count)) for i in range(count)})


def rung_steps(planned: PlannedCell, search: SearchConfig) -> tuple[int, ...]:
    """Optimiser steps at which a trial is judged, ascending; the last is the end of training.

    A rung falls on the next evaluation, so that judging changes nothing about a run.
    """
    last = int(planned.train["steps"])
    if planned.stage != "final":
        return (last,)
    if planned.kind == "estimator" or search.stopping == "none":
        return (last,)
    evaluated = evaluation_steps(last, int(planned.train["evaluations"]))
    early = {next(step for step in evaluated if step >= share * last) for share in search.rungs}
    return (*sorted(step for step in early if step < last), last)


def survivors(count: int, reduction: int) -> int:
    """How many of `count` trials pass a rung: one in `reduction`, at least one."""
    return max(1, count // reduction)


def resolve_train(strategy: Strategy, train: TrainConfig) -> dict[str, Any]:
    """The training settings that change this strategy's numbers, and no others.

    A strategy that sees single pixels or windows around them has a batch of pixels and no patch size; others have a
    batch of patches. A
    normalisation that the weights were made for wins over the grid's. Estimators have none of a network's settings.
    """
    normalisation = strategy.accepts.normalisation or train.normalisation
    scope = train.normalisation_scope
    if strategy.kind == "estimator":
        return {"normalisation": normalisation, "normalisation_scope": scope, "world_size": 1, "steps": 1}
    settings = {**asdict(train), "normalisation": normalisation}
    for name, meant_by_absence in LATER_SETTINGS.items():
        if settings[name] == meant_by_absence:
            del settings[name]
    pixels = settings.pop("pixel_batch_size")
    if strategy.receptive_field_px == 1 or strategy.window_px:
        settings["batch_size"] = pixels
        del settings["patch_size"]
    return settings


def cell_identity(template: RunSpec, search: SearchConfig, space: Mapping[str, Distribution], trials: int) -> str:
    """The id of a cell: what its runs share, and how its hyperparameters are chosen.

    Not in it: folds, seeds, and how many trials or seeds there are, so that more of them extend the same cell.
    """
    shared = template.plain()
    for name in ("stage", "fold", "seed", "subset_seed"):
        del shared[name]
    chosen: dict[str, Any] = {}
    if trials:
        chosen = dict(vars(search))
        del chosen["trials"]
        del chosen["selection"]  # in the template, resolved
        if search.stopping == "none":
            del chosen["rungs"], chosen["reduction"]
        chosen["space"] = {name: [type(d).__name__, vars(d)] for name, d in space.items()}
    return content_hash({"runs": shared, "search": chosen})


def _template(planned: PlannedCell) -> RunSpec:
    if planned.template is None:
        raise ValueError(f"cell {planned.cell} has no run specification before its data set is prepared")
    return planned.template
