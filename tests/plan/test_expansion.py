"""From a grid to cells: patterns, regimes, controls, duplicates, blocks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.config import BlockConfig, GridConfig, load_grid
from orchestrator.errors import ConfigError
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.choices import parse_entry
from orchestrator.plan.expand import expand
from strategies.registry import list_strategies

NET = "cross_modality/efficientnet_lite0"


def labels(grid: GridConfig, known: tuple[str, ...] = ()) -> list[str]:
    return list(dict.fromkeys(one.cell.strategy.label for one in expand(grid, known)))


def controls(grid: GridConfig) -> dict[str, tuple[str, ...]]:
    return {one.cell.strategy.label: one.cell.strategy.control_of for one in expand(grid)}


def test_cells_are_strategies_times_data_sets_times_budgets(grid: Callable[..., GridConfig]) -> None:
    made = grid(
        strategies=["in_domain/unet", "in_domain/svm_rbf"], datasets=["a", "b"], label_budgets=[0.1, {"k_shot": 5}]
    )
    names = [str(one.cell) for one in expand(made)]
    assert len(names) == len(set(names)) == 8
    assert names[0] == "in_domain/unet · a · 10%"
    assert names[-1] == "in_domain/svm_rbf · b · 5-shot"


def test_a_pretrained_strategy_brings_its_two_controls(grid: Callable[..., GridConfig]) -> None:
    assert controls(grid(strategies=[{"name": NET, "regime": "frozen"}])) == {
        f"{NET}[regime=frozen]": (),
        f"{NET}[init=random,regime=frozen]": (f"{NET}[regime=frozen]",),
        f"{NET}[init=random,regime=full]": (f"{NET}[regime=frozen]",),
    }


def test_full_pretraining_has_one_control_because_both_are_the_same(grid: Callable[..., GridConfig]) -> None:
    assert controls(grid(strategies=[{"name": NET, "regime": "full"}])) == {
        f"{NET}[regime=full]": (),
        f"{NET}[init=random,regime=full]": (f"{NET}[regime=full]",),
    }


def test_a_control_that_serves_two_strategies_is_one_cell_and_names_both(grid: Callable[..., GridConfig]) -> None:
    found = controls(grid(strategies=[{"name": NET, "regimes": ["frozen", "full"]}]))
    assert len(found) == 4
    assert found[f"{NET}[init=random,regime=full]"] == (f"{NET}[regime=frozen]", f"{NET}[regime=full]")


def test_a_control_that_the_grid_lists_itself_is_no_second_cell(grid: Callable[..., GridConfig]) -> None:
    found = controls(
        grid(strategies=[{"name": NET, "init": "random", "regime": "full"}, {"name": NET, "regime": "full"}])
    )
    assert found == {f"{NET}[init=random,regime=full]": (f"{NET}[regime=full]",), f"{NET}[regime=full]": ()}


def test_what_full_training_does_not_use_makes_no_further_control(grid: Callable[..., GridConfig]) -> None:
    found = controls(
        grid(strategies=[{"name": NET, "regime": "lora", "lora_rank": 4}, {"name": NET, "regime": "full"}])
    )
    assert found[f"{NET}[init=random,regime=full]"] == (f"{NET}[lora_rank=4,regime=lora]", f"{NET}[regime=full]")
    assert f"{NET}[init=random,lora_rank=4,regime=lora]" in found


def test_controls_can_be_switched_off(grid: Callable[..., GridConfig]) -> None:
    assert labels(grid(strategies=[{"name": NET, "regime": "frozen"}], controls=False)) == [f"{NET}[regime=frozen]"]


def test_without_added_controls_those_that_the_grid_lists_are_still_controls(grid: Callable[..., GridConfig]) -> None:
    own = [{"name": NET, "regime": "frozen"}, {"name": NET, "init": "random", "regime": "frozen"}]
    assert controls(grid(strategies=own, controls=False)) == {
        f"{NET}[regime=frozen]": (),
        f"{NET}[init=random,regime=frozen]": (f"{NET}[regime=frozen]",),
    }


def test_strategies_without_pretraining_have_no_controls(grid: Callable[..., GridConfig]) -> None:
    assert labels(grid(strategies=["in_domain/unet", "in_domain/svm_rbf"])) == ["in_domain/unet", "in_domain/svm_rbf"]


def test_entries_that_mean_the_same_are_one_cell(grid: Callable[..., GridConfig]) -> None:
    entries = [{"name": NET}, NET, {"name": NET, "init": "pretrained"}]
    assert len(expand(grid(strategies=entries, label_budgets=[1, 1.0, {"fraction": 1}], controls=False))) == 1


def test_the_label_does_not_depend_on_how_the_grid_says_it() -> None:
    default = parse_entry(NET)[0]
    assert parse_entry({"name": NET, "regime": default.fields["regime"]})[0] == default


def test_a_fixed_hyperparameter_is_in_the_label_and_out_of_the_search() -> None:
    (choice,) = parse_entry({"name": "in_domain/unet", "learning_rate": 1e-3})
    assert choice.label == "in_domain/unet[learning_rate=0.001]"
    assert choice.fixed == ("learning_rate",)


def test_a_hyperparameter_fixed_at_its_default_is_another_strategy_than_a_tuned_one() -> None:
    (tuned,) = parse_entry("in_domain/unet")
    (fixed,) = parse_entry({"name": "in_domain/unet", "learning_rate": tuned.fields["learning_rate"]})
    assert fixed.label != tuned.label


def test_a_pattern_means_all_names_that_match(grid: Callable[..., GridConfig]) -> None:
    named = {one.cell.strategy.name for one in expand(grid(strategies=[{"name": "*", "regimes": "all"}]))}
    assert named == set(list_strategies())
    assert {one.cell.dataset for one in expand(grid(datasets=["*_a"]), ("salinas_a", "salami"))} == {"salinas_a"}


def test_regimes_all_means_every_regime_that_is_offered() -> None:
    assert [choice.fields["regime"] for choice in parse_entry({"name": NET, "regimes": "all"})] == [
        "frozen", "stem", "lora", "full",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("entry", "words"),
    [
        ("in_domain/unett", "unknown strategy 'in_domain/unett'. Did you mean 'in_domain/unet'"),
        ({"name": "in_domain/unet", "learning_rat": 1}, "Did you mean 'learning_rate'"),
        ({"name": NET, "regime": "frozn"}, "Did you mean 'frozen'"),
        ({"name": "in_domain/unet", "regime": "lora"}, "Known: full"),
        ({"name": NET, "regimes": "every"}, "allowed: all, or a list of frozen, stem, lora, full"),
        ({"name": NET, "regimes": ["full"], "regime": "full"}, "one of them"),
        ({"name": "in_domain/unet", "init": "pretrained"}, "no pretrained weights"),
        ({"name": "in_domain/unet", "learning_rate": "fast"}, "learning_rate is 'fast'; allowed: a number"),
        ({"name": "in_domain/unet", "learning_rate": True}, "learning_rate is True"),
        ({"name": "in_domain/unet", "learning_rate": -1.0}, "in_domain/unet: learning_rate"),
        ({"regime": "full"}, "has no name"),
        (5, "has no name"),
        ("in_dom*/x", "unknown strategy pattern"),
    ],
)
def test_a_wrong_strategy_entry_is_refused_in_words(entry: Any, words: str) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_entry(entry)
    assert words in str(caught.value)


@pytest.mark.parametrize(
    "value",
    [0, 1.5, -0.1, True, "half", None, float("nan"), {"k_shot": 0}, {"k_shot": 2.5}, {"shots": 5}, {},
     {"fraction": 0.1, "k_shot": 5}, {"k_shot": 5, "sampler": "whole_images"}],
)  # fmt: skip
def test_a_label_budget_that_means_nothing_is_refused_with_what_is_allowed(value: Any) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        LabelBudget.parse(value)


def test_a_block_adds_its_own_cells_with_its_own_settings(grid: Callable[..., GridConfig]) -> None:
    block = BlockConfig(["in_domain/unet"], ["forest"], [0.5], optional=True, train={"steps": 7, "evaluations": 1})
    first, second = expand(grid(blocks=[block]))
    assert (first.optional, first.train.steps) == (False, 400)
    assert (second.optional, second.train.steps, second.cell.dataset) == (True, 7, "forest")


def test_a_cell_that_is_listed_as_required_too_is_required(grid: Callable[..., GridConfig]) -> None:
    block = BlockConfig(["in_domain/spectral_cnn"], ["meadow"], [0.1], optional=True)
    (one,) = expand(grid(blocks=[block]))
    assert not one.optional


def test_one_cell_with_two_training_settings_is_refused(grid: Callable[..., GridConfig]) -> None:
    block = BlockConfig(["in_domain/spectral_cnn"], ["meadow"], [0.1], train={"steps": 7, "evaluations": 1})
    with pytest.raises(ConfigError, match="listed twice with different training settings"):
        expand(grid(blocks=[block]))


def test_quick_is_the_promised_comparison() -> None:
    cells = expand(load_grid("quick"))
    required = {one.cell.strategy.label for one in cells if not one.optional}
    assert required == {
        "in_domain/svm_rbf", "in_domain/box_filter_logistic", "in_domain/spectral_cnn", "in_domain/unet",
        f"{NET}[regime=frozen]", f"{NET}[regime=full]", f"{NET}[init=random,regime=frozen]",
        f"{NET}[init=random,regime=full]",
    }  # fmt: skip
    assert sum(not one.optional for one in cells) == 16
    assert {one.cell.dataset for one in cells if one.optional} == {"enmap_potsdam"}
