"""Cells of a plan: states and reasons, selection and splits, slots and the runs that fill them, cost."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.config import BlockConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.errors import ConfigError
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.facts import DatasetFacts, DatasetStatus, WeightsStatus
from orchestrator.plan.planned import Plan, PlannedCell
from orchestrator.plan.selection import resolve_selection
from orchestrator.plan.slots import (
    final_slots,
    final_spec,
    fold_of_seed,
    resolve_train,
    rung_steps,
    search_slots,
    search_spec,
    survivors,
)
from strategies.registry import get_strategy, make_strategy

Planner = Callable[..., Plan]
Grids = Callable[..., GridConfig]
Statuses = Callable[..., DatasetStatus]
SPECTF = {"name": "cross_domain/spectf", "regime": "full", "init": "pretrained"}


def only(plan: Plan) -> PlannedCell:
    (cell,) = plan.cells
    return cell


def records(cell: PlannedCell, **states: str) -> dict[str, dict[str, str]]:
    """What a ledger would hold: every slot of a stage in one state."""
    slots = {name: states["search"] for name in search_slots(cell) if "search" in states}
    slots |= {name: states["final"] for name in final_slots(cell) if "final" in states}
    return {str(cell.cell_id): slots}


# --- states and reasons --------------------------------------------------------------------------------------------


def test_a_cell_that_was_never_run_is_missing_with_all_its_runs(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid()))
    assert (cell.state, cell.runs_done, cell.runs_total) == ("missing", 0, 8 + 2)


def test_a_cell_is_done_when_trials_are_closed_and_finals_finished(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid()))
    done = only(plan_of(grid(), records=records(cell, search="stopped", final="finished")))
    assert (done.state, done.runs_done, done.device_left_s) == ("done", 10, 0.0)


def test_a_failed_trial_alone_does_not_fail_its_cell(plan_of: Planner, grid: Grids) -> None:
    known = records(only(plan_of(grid())), search="finished", final="finished")
    next(iter(known.values()))["search/f0/3"] = "failed"
    cell = only(plan_of(grid(), records=known))
    assert cell.state == "done"
    assert "1 of them trials that failed" in cell.reason


def test_a_failed_final_fails_its_cell_and_is_named(plan_of: Planner, grid: Grids) -> None:
    known = records(only(plan_of(grid())), search="finished", final="finished")
    next(iter(known.values()))["final/1"] = "failed"
    cell = only(plan_of(grid(), records=known))
    assert (cell.state, cell.reason) == ("failed", "final/1 failed")


def test_a_cell_whose_trials_all_failed_is_failed(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid(), records=records(only(plan_of(grid())), search="failed")))
    assert (cell.state, cell.reason) == ("failed", "all trials of fold 0 failed")


def test_more_seeds_or_trials_extend_a_done_cell(plan_of: Planner, grid: Grids) -> None:
    known = records(only(plan_of(grid())), search="finished", final="finished")
    for more in ({"seeds": 5}, {"search": SearchConfig(trials=12)}):
        cell = only(plan_of(grid(**more), records=known))
        assert (cell.state, cell.runs_done) == ("partial", 10)


def test_superseded_finals_are_to_do_again(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid(), records=records(only(plan_of(grid())), search="finished", final="superseded")))
    assert (cell.state, cell.runs_done) == ("partial", 8)


def test_settings_that_change_no_number_leave_the_cell_done(plan_of: Planner, grid: Grids) -> None:
    known = records(only(plan_of(grid())), search="finished", final="finished")
    made = grid()
    made.execution.groups, made.execution.storage_path, made.name = 2, "/elsewhere", "renamed"
    assert only(plan_of(made, records=known)).state == "done"


def test_a_new_label_budget_leaves_the_others_done(plan_of: Planner, grid: Grids) -> None:
    known = records(only(plan_of(grid())), search="finished", final="finished")
    plan = plan_of(grid(label_budgets=[0.1, 0.2]), records=known)
    assert [cell.state for cell in plan.cells] == ["done", "missing"]


def test_an_unprepared_data_set_is_no_obstacle_but_has_no_cell_id_yet(
    plan_of: Planner, grid: Grids, status: Statuses
) -> None:
    cell = only(plan_of(grid(), status(digest=None)))
    assert (cell.state, cell.cell_id, cell.template) == ("missing", None, None)
    assert "prepared first" in cell.reason
    with pytest.raises(ValueError, match="before its data set is prepared"):
        final_spec(cell, 0, {})


def test_absent_files_block_with_the_command_that_gets_them(
    plan_of: Planner, grid: Grids, facts: Callable[..., DatasetFacts]
) -> None:
    absent = DatasetStatus(facts=facts(), reason="file x not found", remedy="hsfm-sweep data fetch meadow")
    cell = only(plan_of(grid(), absent))
    assert (cell.state, cell.reason, cell.remedy) == ("blocked", "file x not found", "hsfm-sweep data fetch meadow")


def test_absent_weights_block_the_pretrained_cell_but_not_its_control(plan_of: Planner, grid: Grids) -> None:
    absent = WeightsStatus(name="spectf_v010", sha256="f" * 64, reason="not found", remedy="hsfm-sweep weights fetch")
    plan = plan_of(grid(strategies=[SPECTF]), weights_status={"spectf_v010": absent})
    assert [cell.state for cell in plan.cells] == ["blocked", "missing"]
    assert plan.cells[0].remedy == "hsfm-sweep weights fetch"


def test_weights_that_went_away_do_not_undo_what_is_done(plan_of: Planner, grid: Grids) -> None:
    made = grid(strategies=[SPECTF], controls=False)
    known = records(only(plan_of(made)), search="finished", final="finished")
    absent = WeightsStatus(name="spectf_v010", sha256="f" * 64)
    assert only(plan_of(made, records=known, weights_status={"spectf_v010": absent})).state == "done"


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"quantity": "raw"}, "meadow holds raw; accepted: toa reflectance, surface reflectance"),
        ({"wavelengths_nm": None, "wavelengths_provenance": "lost"}, "no wavelengths (lost)"),
        (
            {"wavelengths_nm": (300.0, 400.0, 2600.0), "num_bands": 3},
            "2 of 3 bands of meadow lie outside of 381-2493 nm",
        ),
    ],
)
def test_a_sensor_that_a_strategy_cannot_take_blocks_with_the_reason(
    plan_of: Planner, grid: Grids, status: Statuses, changes: dict[str, Any], words: str
) -> None:
    plan = plan_of(grid(strategies=[SPECTF]), status(**changes))
    assert {cell.state for cell in plan.cells} == {"blocked"}
    assert words in plan.cells[0].reason


def test_too_few_bands_block_with_the_reason(plan_of: Planner, grid: Grids, status: Statuses) -> None:
    cell = only(plan_of(grid(), status(num_bands=4, wavelengths_nm=None)))
    assert (cell.state, cell.reason) == ("blocked", "meadow has 4 bands; accepted: at least 8")


def test_a_cell_whose_packages_are_not_installed_is_blocked_with_the_command(
    plan_of: Planner, grid: Grids, monkeypatch: pytest.MonkeyPatch
) -> None:
    kind = get_strategy("in_domain/spectral_cnn")
    monkeypatch.setattr(kind, "requires", ("json", "no_such_package"))
    cell = only(plan_of(grid()))
    assert (cell.state, cell.reason) == (
        "blocked",
        "no_such_package is not installed; pip install no_such_package",
    )
    monkeypatch.setattr(kind, "requires", ("json",))
    assert only(plan_of(grid())).state == "missing"


def test_what_is_overridden_is_noted(plan_of: Planner, grid: Grids, status: Statuses) -> None:
    plan = plan_of(grid(strategies=[SPECTF]), status(dropped_bands=(3, 4), labels="derived"))
    notes = " ".join(plan.cells[0].notes)
    assert "normalisation scale instead of per_band_zscore" in notes
    assert "2 bands" in notes
    assert "derived" in notes


@pytest.mark.parametrize(
    ("changes", "grid_changes", "words"),
    [
        ({"task": "images", "split": "images"}, {"split": "block"}, "split 'block' does not fit meadow"),
        ({}, {"split": "random", "label_budgets": [1.0]}, "leaves no pixel to test"),
        ({}, {"label_budgets": [{"fraction": 0.5, "sampler": "whole_images"}]}, "whole_images does not fit meadow"),
        ({}, {"split": "random", "search": SearchConfig(selection="validation_full")}, "needs a validation side"),
    ],
)
def test_a_task_that_the_data_set_cannot_give_blocks_with_the_reason(
    plan_of: Planner, grid: Grids, status: Statuses, changes: dict[str, Any], grid_changes: dict[str, Any], words: str
) -> None:
    cell = only(plan_of(grid(**grid_changes), status(**changes)))
    assert cell.state == "blocked"
    assert words in cell.reason


# --- selection and folds -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "expected"),
    [(0.1, "validation_matched"), (1, "validation_matched"), ({"k_shot": 5}, "held_out_shots"),
     ({"k_shot": 20}, "held_out_shots"), ({"k_shot": 4}, "none"), ({"k_shot": 1}, "none")],
)  # fmt: skip
def test_selection_auto_follows_the_label_budget(budget: Any, expected: str) -> None:
    assert resolve_selection("auto", LabelBudget.parse(budget)) == expected


@pytest.mark.parametrize(
    ("requested", "budget"),
    [("held_out_shots", 0.1), ("held_out_shots", {"k_shot": 4}), ("validation_matched", {"k_shot": 1}),
     ("validation_full", {"k_shot": 1})],
)  # fmt: skip
def test_a_selection_that_is_impossible_is_refused(requested: str, budget: Any) -> None:
    with pytest.raises(ConfigError, match="allowed"):
        resolve_selection(requested, LabelBudget.parse(budget))


def test_without_validation_labels_nothing_is_searched_and_the_last_weights_count(
    plan_of: Planner, grid: Grids
) -> None:
    cell = only(plan_of(grid(label_budgets=[{"k_shot": 1}])))
    assert (cell.trials, cell.runs_total, cell.selection) == (0, 2, "none")
    assert cell.train["checkpoint"] == "last"


def test_a_strategy_with_nothing_to_tune_has_no_trials(plan_of: Planner, grid: Grids) -> None:
    entry = {"name": "in_domain/svm_rbf", "tuning": "cross_validation"}
    assert only(plan_of(grid(strategies=[entry]))).trials == 0


def test_fixed_fields_leave_the_search_space(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid(strategies=[{"name": "in_domain/spectral_cnn", "learning_rate": 1e-3}])))
    assert set(cell.space) == {"dropout"}


def test_each_fold_that_a_seed_uses_has_a_study_of_its_own(plan_of: Planner, grid: Grids, status: Statuses) -> None:
    images = status(task="images", split="images", folds=4)
    for seeds, folds in ((2, (0, 1)), (6, (0, 1, 2, 3))):
        cell = only(plan_of(grid(seeds=seeds), images))
        assert cell.folds_used == folds
        assert len(search_slots(cell)) == cell.trials * len(folds)
        assert [fold_of_seed(cell, seed) for seed in range(seeds)] == [seed % 4 for seed in range(seeds)]


def test_another_split_than_the_data_sets_own_has_one_fold(plan_of: Planner, grid: Grids, status: Statuses) -> None:
    cell = only(plan_of(grid(split="random"), status(task="images", split="images", folds=4)))
    assert cell.folds_used == (0,)


def test_a_block_with_another_split_has_cells_of_its_own_and_leaves_the_others_as_they_are(
    plan_of: Planner, grid: Grids
) -> None:
    axes: dict[str, Any] = {
        "strategies": ["in_domain/spectral_cnn"], "datasets": ["meadow"], "label_budgets": [0.1]
    }  # fmt: skip
    block, random = plan_of(grid(blocks=[BlockConfig(**axes, split="random")])).cells
    assert (block.split, random.split) == ("block", "random")
    assert block.cell_id == only(plan_of(grid())).cell_id
    assert random.cell_id == only(plan_of(grid(split="random"))).cell_id
    assert str(random.cell) == f"{block.cell} · random split"
    assert random.trials == 0  # its validation labels would be test labels


def test_the_grids_own_split_named_again_by_a_block_is_no_second_cell(plan_of: Planner, grid: Grids) -> None:
    axes: dict[str, Any] = {
        "strategies": ["in_domain/spectral_cnn"], "datasets": ["meadow"], "label_budgets": [0.1]
    }  # fmt: skip
    assert only(plan_of(grid(split="random", blocks=[BlockConfig(**axes, split="random")]))).split == "random"


# --- slots and runs ------------------------------------------------------------------------------------------------


def test_search_draws_other_labels_than_any_final_and_all_trials_the_same(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid()))
    first, second = (search_spec(cell, 0, trial, {"learning_rate": lr}) for trial, lr in ((0, 1e-3), (1, 2e-3)))
    assert first.subset_seed == second.subset_seed == first.seed
    assert first.subset_seed not in {final_spec(cell, seed, {}).subset_seed for seed in range(100)}
    assert first.key != second.key
    assert search_spec(cell, 0, 5, {"learning_rate": 1e-3}).key == first.key


def test_finals_differ_in_seed_alone(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid()))
    zero, one = (final_spec(cell, seed, {"dropout": 0.5}) for seed in (0, 1))
    assert zero.fields["dropout"] == 0.5
    assert (one.seed, one.subset_seed, one.stage) == (1, 1, "final")
    assert zero.train == one.train
    assert zero.fields == one.fields


def test_rungs_are_steps_and_end_with_training(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid()))
    assert rung_steps(cell, SearchConfig(rungs=[0.25, 0.5])) == (100, 200, 400)
    assert rung_steps(cell, SearchConfig(rungs=[0.001, 0.3])) == (100, 200, 400), "a rung falls on an evaluation"
    assert rung_steps(cell, SearchConfig(stopping="none")) == (400,)


def test_an_estimator_has_one_step_and_no_rung(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid(strategies=["in_domain/svm_rbf"])))
    assert rung_steps(cell, SearchConfig()) == (1,)


def test_at_least_one_trial_survives_a_rung() -> None:
    assert [survivors(count, 2) for count in (4, 3, 2, 1)] == [2, 1, 1, 1]


def test_training_settings_are_those_that_change_a_strategys_numbers() -> None:
    train = TrainConfig(world_size=2)
    pixels = resolve_train(make_strategy("in_domain/spectral_cnn"), train)
    assert pixels["batch_size"] == train.pixel_batch_size
    assert not {"patch_size", "pixel_batch_size"} & set(pixels)
    patches = resolve_train(make_strategy("in_domain/unet"), train)
    assert (patches["batch_size"], patches["patch_size"]) == (train.batch_size, train.patch_size)
    assert "pixel_batch_size" not in patches
    assert resolve_train(make_strategy("in_domain/svm_rbf"), train) == {
        "normalisation": "per_band_zscore", "normalisation_scope": "train", "world_size": 1, "steps": 1,
    }  # fmt: skip


def test_the_place_of_a_users_file_is_in_no_key(plan_of: Planner, grid: Grids, status: Statuses) -> None:
    from orchestrator.plan.make_plan import make_plan

    one = status()
    by_name = only(plan_of(grid()))
    by_path = only(make_plan(grid(datasets=["/home/me/meadow.yaml"]), {"/home/me/meadow.yaml": one}, {}, {}))
    assert by_path.cell_id == by_name.cell_id
    assert (by_path.cell.dataset, by_path.dataset_source) == ("meadow", "/home/me/meadow.yaml")


# --- cost ----------------------------------------------------------------------------------------------------------


def test_device_time_counts_early_stopping_finals_and_folds(plan_of: Planner, grid: Grids, status: Statuses) -> None:
    made = grid(search=SearchConfig(trials=4, round=4, rungs=[0.5], reduction=2))
    # one round: 4 trials to half, 2 to the end = 3 trainings; and 2 finals
    step_s = make_strategy("in_domain/spectral_cnn").reference_step_s
    assert only(plan_of(made)).device_s == pytest.approx((3 + 2) * 400 * step_s)
    folded = only(plan_of(made, status(task="images", split="images", folds=2)))
    assert folded.device_s == pytest.approx((3 * 2 + 2) * 400 * step_s)


def test_measured_steps_win_over_the_reference(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid()))
    measured = only(plan_of(grid(), measured_s={str(cell.cell_id): 1.0, "in_domain/spectral_cnn": 5.0}))
    assert measured.is_measured
    assert measured.device_s == pytest.approx((2 * 3 + 2) * 400)  # two rounds of four
    assert only(plan_of(grid(), measured_s={"in_domain/spectral_cnn": 5.0})).device_s == pytest.approx(8 * 400 * 5)


def test_what_is_done_is_not_left(plan_of: Planner, grid: Grids) -> None:
    cell = only(plan_of(grid()))
    half = only(plan_of(grid(), records=records(cell, search="finished")))
    assert half.device_left_s == pytest.approx(half.device_s * 2 / 8)
