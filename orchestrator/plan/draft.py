"""One cell of a plan as grid, strategy and data set resolve it, before its state and cost are known. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orchestrator.config import GridConfig
from orchestrator.plan import cost
from orchestrator.plan.compatibility import override_notes
from orchestrator.plan.epochs import steps_of_epochs
from orchestrator.plan.expand import ExpandedCell
from orchestrator.plan.facts import DatasetStatus, WeightsStatus
from orchestrator.plan.leave_one_scene_out import candidates_id_of
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.provenance import leakage, transfer, used_pretraining
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.selection import (
    LEAVE_ONE_SCENE_OUT,
    WITHOUT_VALIDATION,
    number_of_folds,
    resolve_selection,
    resolve_split,
)
from orchestrator.plan.slots import cell_identity, resolve_train
from orchestrator.plan.stage_templates import (
    feature_template,
    features_gib,
    own_pretraining,
    pretraining_facts,
    pretraining_template,
)
from orchestrator.plan.versions import implementation_of
from strategies._base import Strategy


def draft(
    grid: GridConfig,
    expanded: ExpandedCell,
    strategy: Strategy,
    status: DatasetStatus,
    weights: WeightsStatus | None,
    sources: Sequence[DatasetStatus],
) -> PlannedCell:
    """The cell without its state and cost."""
    facts, cell = status.facts, expanded.cell
    split = resolve_split(cell.split or grid.split, facts)
    space = {name: d for name, d in strategy.space().items() if name not in cell.strategy.fixed}
    selection = resolve_selection(grid.search.selection, cell.label_budget)
    if selection == LEAVE_ONE_SCENE_OUT and (not space or split == "random"):
        selection = "none"  # nothing is chosen, and no label is spent on it
    train = resolve_train(strategy, steps_of_epochs(expanded.train, facts, cell.label_budget, strategy))
    if selection in WITHOUT_VALIDATION and "checkpoint" in train:
        # finals have no validation labels to choose a checkpoint by, and trials must be judged like finals
        train["checkpoint"] = "last"
    if selection == LEAVE_ONE_SCENE_OUT:
        train.pop("early_stopping", None)  # finals cannot stop early, so trials do not
    # On a random split the labels of a search would be test labels of the finals: there, defaults are used as they are.
    is_searched = bool(space) and selection != "none" and split != "random"
    trials = grid.search.trials if is_searched else 0
    template = None
    if status.digest is not None:
        template = RunSpec(
            strategy=cell.strategy.name,
            fields=cell.strategy.fields,
            dataset=facts.name,
            dataset_digest=status.digest,
            split=split,
            fold=0,
            label_budget=cell.label_budget,
            selection=selection,
            stage="search",
            seed=0,
            subset_seed=0,
            train=train,
            metric=grid.search.metric,
            weights_sha256=weights.sha256 if weights else None,
            implementation={
                **implementation_of(cell.label_budget.sampler),
                "strategy": strategy.implementation_version,
                "reader": facts.reader_version,
            },
        )
    own, own_spec, features = own_pretraining(strategy), None, None
    if template is not None:
        versions = {"strategy": strategy.implementation_version}  # the readers' are in the digests of the pool
        if own is not None:
            own_spec = pretraining_template(cell.strategy, own, sources, template, train, versions)
        is_wanted = expanded.train.feature_cache
        features = feature_template(strategy, cell.strategy, facts, template, is_wanted=is_wanted)
        keys = tuple(one.key for one in (own_spec, features) if one is not None)
        # an own pretraining whose source is not prepared yet has no key, and so its cell has no identity
        template = None if own is not None and own_spec is None else replace(template, depends_on=keys)
    pretraining = pretraining_facts(own, [s.facts for s in sources], facts) if own else used_pretraining(strategy)
    return PlannedCell(
        cell=replace(cell, dataset=facts.name),
        dataset_source=cell.dataset,
        facts=facts,
        cell_id=cell_identity(template, grid.search, space, trials) if template else None,
        template=template,
        train=train,
        transfer=transfer(pretraining, facts),
        leakage=leakage(pretraining, facts),
        optional=expanded.optional,
        folds_used=tuple(range(min(grid.seeds, number_of_folds(split, facts)))),
        trials=trials,
        seeds=grid.seeds,
        first_seed=grid.first_seed,
        state="missing",
        reason="",
        remedy="",
        runs_total=0,
        runs_done=0,
        runs_failed=0,
        device_s=0.0,
        device_left_s=0.0,
        is_measured=False,
        disk_gib=0.0,
        space=space,
        notes=override_notes(strategy, facts, expanded.train, split),
        kind=strategy.kind,
        receptive_field_px=strategy.receptive_field_px,
        selection=selection,
        split=split,
        candidates_id=candidates_id_of(cell) if selection == LEAVE_ONE_SCENE_OUT and trials else "",
        pretraining=own_spec,
        pretraining_seeds=own.seeds if own else 1,
        sources=own.sources if own else (),
        pretraining_step_s=cost.pretraining_step_seconds(strategy, own) if own else 0.0,
        features=features,
        features_s=strategy.reference_step_s * facts.num_images,
        features_gib=features_gib(strategy, facts) if features else 0.0,
    )
