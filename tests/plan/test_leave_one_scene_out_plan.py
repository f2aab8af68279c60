"""Leave one scene out, planned: who chooses for whom, what is refused, and what a cell says about it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.config import GridConfig, SearchConfig, TrainConfig
from orchestrator.datasets.registry import get_facts
from orchestrator.datasets.tasks import selection_of_run
from orchestrator.errors import ConfigError
from orchestrator.plan.facts import DatasetFacts, DatasetStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import Plan, PlannedCell
from orchestrator.plan.slots import final_slots, search_slots

Grids = Callable[..., GridConfig]
Facts = Callable[..., DatasetFacts]


@pytest.fixture
def plan_of(grid: Grids, facts: Facts) -> Callable[..., Plan]:
    """A plan of data sets by name, each with what differs of its facts; None = its files are not there."""

    def plan(
        datasets: dict[str, dict[str, Any] | None], *, records: dict[str, dict[str, str]] | None = None, **changes: Any
    ) -> Plan:
        statuses = {
            name: DatasetStatus(facts=facts(name=name), reason="its files are not there", remedy=f"fetch {name}")
            if own is None
            else DatasetStatus(facts=facts(name=name, **own), digest=name[0] * 16, files_present=True)
            for name, own in datasets.items()
        }
        search = {"selection": "leave_one_scene_out", "trials": 3, **changes.pop("search", {})}
        values = {"label_budgets": [{"k_shot": 1}], "search": SearchConfig(**search), **changes}
        return make_plan(grid(datasets=list(datasets), **values), statuses, {}, records or {})

    return plan


def of(plan: Plan, dataset: str) -> PlannedCell:
    (cell,) = (one for one in plan.cells if one.cell.dataset == dataset)
    return cell


def in_state(cell: PlannedCell, **states: str) -> dict[str, str]:
    slots = {name: states["search"] for name in search_slots(cell) if "search" in states}
    return slots | {name: states["final"] for name in final_slots(cell) if "final" in states}


def test_every_other_scene_chooses_also_with_one_label_a_class(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of({"meadow": {}, "orchard": {}, "quarry": {}})
    cell = of(plan, "meadow")
    assert [one.dataset for one in cell.choosers] == ["orchard", "quarry"]
    assert (cell.selection, cell.trials, cell.runs_total) == ("leave_one_scene_out", 3, 3 + 2)
    assert "chosen on orchard and quarry" in cell.reason
    assert len({one.candidates_id for one in plan.cells}) == 1


def test_another_budget_strategy_or_fixed_field_has_other_candidates(plan_of: Callable[..., Plan]) -> None:
    strategies = ["in_domain/svm_rbf", "in_domain/spectral_cnn", {"name": "in_domain/svm_rbf", "gamma": 0.1}]
    plan = plan_of({"meadow": {}, "orchard": {}}, strategies=strategies, label_budgets=[{"k_shot": 1}, {"k_shot": 5}])
    assert len({one.candidates_id for one in plan.cells}) == 6
    assert all(len(one.choosers) == 1 for one in plan.cells)


def test_data_sets_of_one_place_never_choose_for_each_other(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of({"salinas": {}, "salinas_a": {"scene": "salinas"}, "meadow": {}})
    assert [[one.dataset for one in cell.choosers] for cell in plan.cells] == [
        ["meadow"], ["meadow"], ["salinas", "salinas_a"]
    ]  # fmt: skip
    assert get_facts("salinas_a").place == get_facts("salinas").place != get_facts("indian_pines").place


@pytest.mark.parametrize("datasets", [{"meadow": {}}, {"salinas": {}, "salinas_a": {"scene": "salinas"}}])
def test_candidates_on_one_scene_alone_are_refused_with_what_to_do(plan_of: Callable[..., Plan], datasets: Any) -> None:
    with pytest.raises(ConfigError, match=r"runs on .* alone.*allowed: at least 2 scenes.*search\.selection=auto"):
        plan_of(datasets)


def test_draws_are_random_no_trial_is_stopped_early_and_the_plan_says_so(plan_of: Callable[..., Plan]) -> None:
    plan = plan_of({"meadow": {}, "orchard": {}}, search={"sampler": "tpe", "stopping": "rungs"})
    assert (plan.search.sampler, plan.search.stopping) == ("random", "none")
    assert all("drawn at random, the same on every scene" in cell.notes[-1] for cell in plan.cells)
    same = plan_of({"meadow": {}, "orchard": {}}, search={"sampler": "random", "stopping": "none"})
    assert [cell.cell_id for cell in plan.cells] == [cell.cell_id for cell in same.cells]


def test_trials_are_trained_like_finals_and_scored_on_all_validation_labels(plan_of: Callable[..., Plan]) -> None:
    train = TrainConfig(checkpoint="best", early_stopping=2)
    cell = of(plan_of({"meadow": {}, "orchard": {}}, train=train), "meadow")
    assert cell.train["checkpoint"] == "last"
    assert "early_stopping" not in cell.train
    assert selection_of_run(cell.selection, "search") == "validation_full"
    assert selection_of_run(cell.selection, "final") == "none"


def test_on_a_random_split_and_without_tunable_fields_nothing_is_chosen(plan_of: Callable[..., Plan]) -> None:
    cell = of(plan_of({"meadow": {}}, split="random"), "meadow")
    assert (cell.selection, cell.trials, cell.choosers) == ("none", 0, ())


def test_a_blocked_scene_chooses_nothing_and_the_last_one_blocks_the_others(plan_of: Callable[..., Plan]) -> None:
    some = of(plan_of({"meadow": {}, "orchard": {}, "quarry": None}), "meadow")
    assert "chosen on orchard" in some.reason
    assert [bool(one.blocked) for one in some.choosers] == [False, True]
    cell = of(plan_of({"meadow": {}, "quarry": None}), "meadow")
    assert (cell.state, cell.remedy) == ("blocked", "fetch quarry")
    assert "no other scene to choose hyperparameters on: quarry: its files are not there" in cell.reason


def test_a_scene_that_comes_later_reopens_what_was_chosen_without_it(plan_of: Callable[..., Plan]) -> None:
    two = plan_of({"meadow": {}, "orchard": {}})
    records = {str(cell.cell_id): in_state(cell, search="finished", final="finished") for cell in two.cells}
    assert [cell.state for cell in plan_of({"meadow": {}, "orchard": {}}, records=records).cells] == ["done", "done"]
    later = plan_of({"meadow": {}, "orchard": {}, "quarry": {}}, records=records)
    assert [cell.state for cell in later.cells] == ["partial", "partial", "missing"]
    assert "trials on quarry are to do" in of(later, "meadow").reason
    gone = plan_of({"meadow": {}, "orchard": {}, "quarry": None}, records=records)
    assert [cell.state for cell in gone.cells] == ["done", "done", "blocked"]


def test_a_cell_fails_with_the_trials_of_the_others_not_with_its_own(plan_of: Callable[..., Plan]) -> None:
    names: dict[str, Any] = {"meadow": {}, "orchard": {}}
    fresh = plan_of(names)
    records = {str(of(fresh, "orchard").cell_id): in_state(of(fresh, "orchard"), search="failed")}
    plan = plan_of(names, records=records)
    assert of(plan, "meadow").state == "failed"
    assert "all trials on orchard failed" in of(plan, "meadow").reason
    assert of(plan, "orchard").state == "missing" or of(plan, "orchard").state == "partial"
