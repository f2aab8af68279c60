"""A run's key and a cell's id: what changes them, what does not, and that they stay what they were."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from orchestrator import metrics
from orchestrator.config import SearchConfig
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.run_spec import RunSpec, canonical, content_hash
from orchestrator.plan.slots import cell_identity
from orchestrator.plan.versions import IMPLEMENTATION, STAGES
from strategies._base import Float

SPACE = {"learning_rate": Float(1e-4, 1e-2, log=True)}
SPEC = RunSpec(
    strategy="in_domain/unet",
    fields={"regime": "full", "init": "random", "learning_rate": 0.002, "widths": (8, 16)},
    dataset="meadow",
    dataset_digest="0123456789abcdef",
    split="block",
    fold=0,
    label_budget=LabelBudget(kind="fraction", value=0.25, sampler="stratified_pixels"),
    selection="validation_matched",
    stage="final",
    seed=1,
    subset_seed=1,
    train={"steps": 400, "batch_size": 8, "precision": "fp32", "world_size": 1},
    metric="miou",
    weights_sha256=None,
    implementation={"strategy": 1, "reader": 1, "sampler": 1, "training": 1, "metrics": 1},
)
CHANGES: dict[str, dict[str, Any]] = {
    "strategy": {"strategy": "in_domain/spectral_cnn"},
    "hyperparameter": {"fields": {**SPEC.fields, "learning_rate": 0.003}},
    "regime": {"fields": {**SPEC.fields, "regime": "frozen"}},
    "tuple field": {"fields": {**SPEC.fields, "widths": (16, 8)}},
    "dataset": {"dataset": "forest"},
    "digest": {"dataset_digest": "fedcba9876543210"},
    "split": {"split": "random"},
    "fold": {"fold": 1},
    "budget": {"label_budget": LabelBudget(kind="fraction", value=0.5, sampler="stratified_pixels")},
    "budget kind": {"label_budget": LabelBudget(kind="k_shot", value=5.0, sampler="k_shot")},
    "sampler": {"label_budget": LabelBudget(kind="fraction", value=0.25, sampler="whole_images")},
    "selection": {"selection": "none"},
    "stage": {"stage": "search"},
    "seed": {"seed": 2},
    "subset seed": {"subset_seed": 2},
    "steps": {"train": {**SPEC.train, "steps": 500}},
    "world size": {"train": {**SPEC.train, "world_size": 2}},
    "precision": {"train": {**SPEC.train, "precision": "bf16"}},
    "metric": {"metric": "oa"},
    "weights": {"weights_sha256": "a" * 64},
    "implementation": {"implementation": {**SPEC.implementation, "training": 2}},
    "dependency": {"depends_on": ("aaaa",)},
}


def test_the_key_of_a_known_run_never_changes() -> None:
    # A change here makes every finished run of every user a different one: raise an implementation version instead.
    assert SPEC.key == "be390fd93922b877"


def test_the_id_of_a_known_cell_never_changes() -> None:
    assert cell_identity(SPEC, SearchConfig(), SPACE, 8) == "ca0819f43cade623"


@pytest.mark.parametrize("axis", CHANGES)
def test_every_axis_changes_the_key(axis: str) -> None:
    assert dataclasses.replace(SPEC, **CHANGES[axis]).key != SPEC.key


def test_every_field_of_a_run_is_covered_by_a_changed_axis() -> None:
    changed = {name for change in CHANGES.values() for name in change}
    assert changed == {field.name for field in dataclasses.fields(RunSpec)}


def test_no_field_of_a_run_says_where_or_when_it_runs() -> None:
    names = {field.name for field in dataclasses.fields(RunSpec)}
    assert not names & {"path", "host", "device", "group", "log", "time", "attempt", "placement", "data_root"}


def test_one_and_one_point_zero_are_the_same_run() -> None:
    whole = LabelBudget.parse(1)
    assert (
        dataclasses.replace(SPEC, label_budget=whole).key
        == dataclasses.replace(SPEC, label_budget=LabelBudget.parse(1.0)).key
    )
    steps = dataclasses.replace(SPEC, train={**SPEC.train, "steps": 400.0})
    assert steps.key == SPEC.key


def test_the_order_of_fields_and_lists_for_tuples_do_not_change_the_key() -> None:
    turned = {name: SPEC.fields[name] for name in reversed(SPEC.fields)} | {"widths": [8, 16]}
    assert dataclasses.replace(SPEC, fields=turned).key == SPEC.key


def test_a_run_survives_json() -> None:
    import json

    back = RunSpec.from_json(json.loads(json.dumps(SPEC.to_json())))
    assert back.key == SPEC.key
    assert back.label_budget == SPEC.label_budget


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_a_number_cannot_be_part_of_a_key(value: float) -> None:
    with pytest.raises(ValueError, match="cannot be part of a key"):
        content_hash({"x": value})


def test_true_and_one_are_different_in_a_key() -> None:
    assert content_hash({"x": True}) != content_hash({"x": 1})
    assert canonical(2.0) == 2


@pytest.mark.parametrize(
    "changed",
    [{"round": 2}, {"sampler": "random"}, {"stopping": "none"}, {"rungs": [0.25]}, {"reduction": 3}, {"metric": "oa"}],
)
def test_how_hyperparameters_are_chosen_is_part_of_the_cell(changed: dict[str, Any]) -> None:
    assert cell_identity(SPEC, SearchConfig(**changed), SPACE, 8) != cell_identity(SPEC, SearchConfig(), SPACE, 8)


def test_another_search_space_is_another_cell() -> None:
    wider = {"learning_rate": Float(1e-5, 1e-2, log=True)}
    assert cell_identity(SPEC, SearchConfig(), wider, 8) != cell_identity(SPEC, SearchConfig(), SPACE, 8)


def test_more_trials_seeds_and_folds_extend_the_same_cell() -> None:
    other = dataclasses.replace(SPEC, stage="search", seed=7, subset_seed=8, fold=2)
    assert cell_identity(other, SearchConfig(trials=99), SPACE, 99) == cell_identity(SPEC, SearchConfig(), SPACE, 8)


def test_without_a_search_its_settings_are_no_part_of_the_cell() -> None:
    assert cell_identity(SPEC, SearchConfig(round=2), {}, 0) == cell_identity(SPEC, SearchConfig(), {}, 0)


def test_the_versions_in_keys_are_those_of_the_modules() -> None:
    from orchestrator.execution import features, pretraining, training

    assert IMPLEMENTATION["metrics"] == metrics.IMPLEMENTATION_VERSION
    assert IMPLEMENTATION["training"] == training.IMPLEMENTATION_VERSION
    assert STAGES["pretrain"] == {"pretrain": pretraining.IMPLEMENTATION_VERSION}
    assert STAGES["features"] == {"features": features.IMPLEMENTATION_VERSION}
