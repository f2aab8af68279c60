"""Protocols, epochs, first seeds and the axis of normalisations."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path

import pytest

from orchestrator.config import GridConfig, TrainConfig, list_protocols, load_grid
from orchestrator.datasets.registry import get_facts
from orchestrator.errors import ConfigError
from orchestrator.plan import versions
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.choices import instantiate, parse_entry
from orchestrator.plan.epochs import steps_of_epochs, training_images
from orchestrator.plan.facts import DatasetFacts, DatasetStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import Plan
from orchestrator.plan.slots import final_slots, resolve_train


def a_set_of_images(images: int) -> DatasetFacts:
    facts = get_facts("indian_pines")
    return replace(facts, task="images", split="images", train_images=images, num_images=2 * images)


def plan_of(grid: GridConfig) -> Plan:
    status = DatasetStatus(facts=get_facts("indian_pines"), digest="0" * 16, files_present=True)
    return make_plan(grid, {"indian_pines": status}, {}, {})


def a_grid(**settings: object) -> GridConfig:
    return GridConfig(
        datasets=["indian_pines"],
        label_budgets=[0.1],
        **{"strategies": ["in_domain/unet"], **settings},  # type: ignore[arg-type]
    )


def test_a_grid_s_own_settings_win_over_its_protocol(tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text(
        "protocol: hs3-2026\nstrategies: [in_domain/unet]\ndatasets: [indian_pines]\nlabel_budgets: [1.0]\n"
        "train: {batch_size: 4}\n"
    )
    grid = load_grid(str(path), ["train.early_stopping=5"])
    train = grid.train
    assert (train.batch_size, train.early_stopping, train.epochs, train.schedule) == (4, 5, 500, "constant")
    assert (grid.first_seed, grid.search.selection) == (42, "validation_full")


def test_the_two_protocols_differ_in_loss_precision_and_stopping() -> None:
    grids = {name: load_grid("smoke", [f"protocol={name}", "train={}"]) for name in list_protocols()}
    older, newer = grids["hs3-2024"].train, grids["hs3-2026"].train
    assert (older.loss_average, older.precision, older.early_stopping) == ("all", "fp32", 0)
    assert (newer.loss_average, newer.precision, newer.early_stopping) == ("labelled", "bf16", 30)


def test_an_unknown_protocol_is_answered_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="hs3-2026"):
        load_grid("smoke", ["protocol=hs3-2025"])


@pytest.mark.parametrize(
    ("strategy", "budget", "steps"),
    [
        ("in_domain/unet", 1.0, 3 * 6),  # 81 images in batches of 16
        ("in_domain/unet", {"fraction": 0.1, "sampler": "whole_images"}, 3 * 1),  # 8 images
        ("in_domain/spectral_cnn", {"fraction": 0.01, "sampler": "whole_images"}, 3 * 165),  # 21,025 pixels, 128 a step
    ],
)
def test_epochs_become_steps_of_the_images_that_a_budget_holds(strategy: str, budget: object, steps: int) -> None:
    train = TrainConfig(epochs=3, batch_size=16, evaluations=100)
    choice = parse_entry(strategy)[0]
    made = steps_of_epochs(train, a_set_of_images(81), LabelBudget.parse(budget), instantiate(choice))
    assert (made.steps, made.evaluations, made.epochs) == (steps, 3, 0)


def test_a_single_scene_cannot_be_trained_in_epochs_and_no_other_cell_suffers() -> None:
    cells = plan_of(a_grid(strategies=["in_domain/unet", "in_domain/svm_rbf"], train=TrainConfig(epochs=2))).cells
    assert [cell.state for cell in cells] == ["blocked", "missing"]
    assert "indian_pines has no training images" in cells[0].reason


@pytest.mark.parametrize(("name", "images"), [("hyko2", 81), ("salami", 3), ("enmap_potsdam", 9), ("indian_pines", 0)])
def test_training_images_are_those_of_the_split_or_of_an_average_fold(name: str, images: int) -> None:
    assert training_images(get_facts(name)) == images


def test_finals_begin_with_the_first_seed() -> None:
    cell = plan_of(a_grid(first_seed=42, seeds=2)).cells[0]
    assert final_slots(cell) == ("final/42", "final/43")


def test_normalisations_can_be_compared_with_each_other() -> None:
    entry = {"name": "in_domain/unet", "normalisations": ["none", "per_band_minmax"]}
    cells = plan_of(a_grid(strategies=[entry, "in_domain/unet"])).cells
    assert [c.cell.strategy.label for c in cells] == [
        "in_domain/unet[normalisation=none]",
        "in_domain/unet[normalisation=per_band_minmax]",
        "in_domain/unet",
    ]
    assert [c.train["normalisation"] for c in cells] == ["none", "per_band_minmax", "per_band_zscore"]
    assert len({c.cell_id for c in cells}) == 3


def test_an_unknown_normalisation_of_an_entry_is_refused() -> None:
    with pytest.raises(ConfigError, match="per_band_minmax"):
        parse_entry({"name": "in_domain/unet", "normalisation": "per_band_minmx"})


def test_settings_that_came_later_leave_the_keys_of_older_runs_alone() -> None:
    strategy = instantiate(parse_entry("in_domain/unet")[0])
    plain = resolve_train(strategy, TrainConfig())
    assert not {"epochs", "early_stopping", "schedule", "loss_average"} & set(plain)
    assert resolve_train(strategy, TrainConfig(schedule="constant"))["schedule"] == "constant"


def test_the_cost_of_whole_images_follows_their_pixels() -> None:
    patches, whole = (plan_of(a_grid(train=TrainConfig(patch_size=side))).device_s for side in (64, 0))
    assert whole == pytest.approx(patches * 145 * 145 / 64**2)


def test_what_absence_means_in_older_keys_is_no_default_of_today(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(TrainConfig, "__init__", functools.partialmethod(TrainConfig.__init__, schedule="constant"))
    assert resolve_train(instantiate(parse_entry("in_domain/unet")[0]), TrainConfig())["schedule"] == "constant"


def test_a_new_version_of_all_samplers_changes_the_keys_of_each(monkeypatch: pytest.MonkeyPatch) -> None:
    before = {name: versions.implementation_of(name)["sampler"] for name in ("whole_images", "k_shot")}
    monkeypatch.setattr(versions, "IMPLEMENTATION", {**versions.IMPLEMENTATION, "sampler": 2})
    after = {name: versions.implementation_of(name)["sampler"] for name in before}
    assert before == {"whole_images": 2, "k_shot": 1}
    assert after == {"whole_images": 3, "k_shot": 2}
