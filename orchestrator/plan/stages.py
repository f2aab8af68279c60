"""Runs that cells share: a strategy's own pretraining, and the features of its frozen backbone. Pure.

A stage is planned like a cell with one run. Runs that build on it carry its key in `depends_on`, so that another
pretraining, or features of other numbers, make other runs.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from functools import lru_cache

from orchestrator.plan.cells import Cell
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import RunSpec, content_hash
from orchestrator.plan.stage_templates import ALL_LABELS, shards_of


def stages_of(planned: PlannedCell, fold: int, seed: int, *, is_search: bool) -> tuple[RunSpec, ...]:
    """The shared runs that one run of a cell builds on, a dependency before its dependants."""
    if planned.pretraining is None and planned.features is None:
        return ()
    return _stages_of(_Shared(planned), fold, seed, is_search)


class _Shared:
    """A cell, compared by its identity: what its runs build on is worked out once."""

    def __init__(self, planned: PlannedCell) -> None:
        self.planned = planned
        own, features = planned.pretraining, planned.features
        self.identity = (own.key if own else "", features.key if features else "", planned.pretraining_seeds)

    def __hash__(self) -> int:
        return hash(self.identity)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Shared) and self.identity == other.identity


@lru_cache(maxsize=4096)
def _stages_of(shared: _Shared, fold: int, seed: int, is_search: bool) -> tuple[RunSpec, ...]:
    planned = shared.planned
    found: list[RunSpec] = []
    if planned.pretraining is not None:
        number = (fold if is_search else seed) % planned.pretraining_seeds
        of_fold = fold if planned.pretraining.train["target"] else 0
        found.append(replace(planned.pretraining, seed=number, subset_seed=number, fold=of_fold))
    if planned.features is not None:
        is_random = planned.features.fields["init"] == "random"
        settings = planned.features.train
        is_fold_free = settings["pixels"] != "images" and settings["normalisation"] in ("none", "scale")
        one = replace(
            planned.features,
            # without statistics of a training side, single pixels have the same features in every fold
            fold=0 if is_fold_free else fold,
            seed=seed if is_random else 0,
            subset_seed=0,
            depends_on=tuple(spec.key for spec in found),
        )
        count = shards_of(planned.facts)
        found += [replace(one, train={**one.train, "shard": shard, "shards": count}) for shard in range(count)]
    return tuple(found)


def shared_cells(cells: Iterable[PlannedCell], records: Mapping[str, Mapping[str, str]]) -> tuple[PlannedCell, ...]:
    """Every stage that a runnable cell builds on, once, as a cell with one run; pretrainings first."""
    found: dict[str, PlannedCell] = {}
    for planned in cells:
        if planned.state == "blocked" or planned.template is None:
            continue
        for spec in all_stages(planned):
            if spec.key not in found:
                before = tuple(found[key].template for key in spec.depends_on)
                found[spec.key] = _as_cell(planned, spec, tuple(one for one in before if one), records)
    return tuple(sorted(found.values(), key=lambda one: one.stage != "pretrain"))


def all_stages(planned: PlannedCell) -> tuple[RunSpec, ...]:
    """The stages of all runs of a cell, each once."""
    if planned.pretraining is None and planned.features is None:
        return ()
    from orchestrator.plan.slots import SEARCH_SEED, fold_of_seed

    found: dict[str, RunSpec] = {}
    if planned.trials:
        for fold in planned.folds_used:
            for spec in stages_of(planned, fold, SEARCH_SEED + fold, is_search=True):
                found.setdefault(spec.key, spec)
    for seed in planned.final_seeds:
        for spec in stages_of(planned, fold_of_seed(planned, seed), seed, is_search=False):
            found.setdefault(spec.key, spec)
    return tuple(found.values())


def stage_id(key: str) -> str:
    """Id, in the ledger, of the shared stage whose run has this key."""
    return content_hash(["stage", key])


def _as_cell(
    planned: PlannedCell, spec: RunSpec, before: tuple[RunSpec, ...], records: Mapping[str, Mapping[str, str]]
) -> PlannedCell:
    cell_id = stage_id(spec.key)
    choice = planned.cell.strategy
    label = f"{spec.stage} of {choice.label}"
    if spec.stage == "features" and int(spec.train["shards"]) > 1:
        label += f" part {int(spec.train['shard']) + 1} of {spec.train['shards']}"
    state = records.get(cell_id, {}).get(f"{spec.stage}/{spec.seed}", "")
    is_done = state == "finished"
    step_s = planned.pretraining_step_s if spec.stage == "pretrain" else planned.features_s
    device_s = step_s * int(spec.train["steps"])
    return replace(
        planned,
        cell=Cell(
            strategy=replace(choice, label=label, control_of=(), fixed=()),
            dataset=spec.dataset,
            label_budget=ALL_LABELS,
        ),
        cell_id=cell_id,
        template=spec,
        train=spec.train,
        stage="pretrain" if spec.stage == "pretrain" else "features",
        pretraining=None,
        features=None,
        stages=before,
        folds_used=(spec.fold,),
        trials=0,
        seeds=1,
        first_seed=spec.seed,
        space={},
        kind="network",
        state="done" if is_done else "failed" if state == "failed" else "missing",
        reason="in the ledger" if is_done else "not run yet",
        remedy="",
        runs_total=1,
        runs_done=int(is_done),
        runs_failed=int(state == "failed"),
        device_s=device_s,
        device_left_s=0.0 if is_done else device_s,
        is_measured=False,
        disk_gib=planned.features_gib if spec.stage == "features" else 0.1,
        notes=(),
        optional=True,
        selection="none",
        candidates_id="",
        choosers=(),
        split=spec.split,
    )
