"""Means, spreads, gains and choices of a made sweep: only what a few seeds can carry, and nothing from test scores."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from made_results import CLASS_NAMES, EFFNET, made_cell, made_expected, made_run, made_sweep
from rich.console import Console

from orchestrator.analysis.aggregates import across_datasets, label_curves
from orchestrator.analysis.contrasts import count_contrasts, seeds_needed
from orchestrator.analysis.latex import latex_table
from orchestrator.analysis.results import parse_budget, results_table
from orchestrator.analysis.rows import ComparisonRow
from orchestrator.analysis.summary import compare, comparison_data
from orchestrator.analysis.terminal import comparison_notes, comparison_table
from orchestrator.analysis.wording import METRIC_TITLES, notes, short_count
from orchestrator.config import METRIC_NAMES
from orchestrator.errors import ConfigError
from orchestrator.ledger.records import RunRow
from orchestrator.metrics import METRICS
from orchestrator.plan.cells import LabelBudget

FROZEN, FULL = f"{EFFNET}[regime=frozen]", f"{EFFNET}[regime=full]"


def _compare(rows: list[RunRow], **settings: object) -> list[ComparisonRow]:
    return compare(results_table(rows), **settings)  # type: ignore[arg-type]


def _find(rows: list[ComparisonRow], strategy: str, budget: str = "10%") -> ComparisonRow:
    return next(r for r in rows if (r.strategy, r.label_budget) == (strategy, budget))


def _score(run: RunRow) -> float:
    return run.metrics["test/miou"]


def test_mean_and_spread_are_over_seeds_with_one_degree_of_freedom_less() -> None:
    runs = made_cell("in_domain/svm_rbf", (0.7, 0.8, 0.75))
    numbers = [_score(run) for run in runs if run.stage == "final"]
    row = _compare(runs)[0]
    assert row.mean == pytest.approx(np.mean(numbers))
    assert row.spread == pytest.approx(np.std(numbers, ddof=1))
    assert list(row.values) == [0, 1, 2]


def test_one_seed_has_no_spread() -> None:
    row = _compare(made_cell("in_domain/svm_rbf", (0.7,)))[0]
    assert row.mean is not None
    assert row.spread is None


def test_superseded_runs_are_out_of_the_comparison() -> None:
    runs = made_cell("in_domain/svm_rbf", (0.7, 0.8))
    old = replace(made_run("in_domain/svm_rbf", correct=0.1, seed=0), run_id="old", key="old", state="superseded")
    row = _compare([*runs, old])[0]
    assert row.values == {0: pytest.approx(_score(runs[0])), 1: pytest.approx(_score(runs[1]))}


def test_device_seconds_are_by_stage_and_count_stopped_trials() -> None:
    row = _compare(made_cell("in_domain/svm_rbf", (0.7, 0.8)))[0]
    assert row.device_s == {"final": 25.0, "search": 12.5}


def test_gains_are_paired_by_seed() -> None:
    rows = _compare(made_sweep())
    row, control = _find(rows, FROZEN), _find(rows, f"{EFFNET}[init=random,regime=frozen]")
    gain = row.gain_same_regime
    assert gain is not None
    assert gain.control == control.strategy
    assert gain.differences == {seed: pytest.approx(row.values[seed] - control.values[seed]) for seed in (0, 1)}
    assert gain.mean == pytest.approx(np.mean(list(gain.differences.values())))
    assert gain.spread == pytest.approx(np.std(list(gain.differences.values()), ddof=1))


def test_the_spread_of_a_gain_is_not_that_of_two_independent_samples() -> None:
    runs = made_cell(FULL, (0.5, 0.9)) + made_cell(f"{EFFNET}[init=random,regime=full]", (0.4, 0.8))
    gain = _find(_compare(runs), FULL).gain_full
    assert gain is not None
    assert gain.spread is not None
    assert gain.spread < 0.06


def test_only_seeds_that_both_sides_have_are_paired() -> None:
    runs = made_cell(FULL, (0.5, 0.6, 0.7)) + made_cell(f"{EFFNET}[init=random,regime=full]", (0.4, 0.5))
    gain = _find(_compare(runs), FULL).gain_full
    assert gain is not None
    assert gain.pairs == 2


def test_each_pretrained_strategy_is_held_against_both_controls() -> None:
    rows = _compare(made_sweep())
    row = _find(rows, FROZEN)
    assert row.gain_same_regime is not None
    assert row.gain_full is not None
    assert row.gain_full.control == f"{EFFNET}[init=random,regime=full]"


def test_controls_and_in_domain_strategies_have_no_gain() -> None:
    rows = _compare(made_sweep())
    assert all(row.gain_same_regime is None and row.gain_full is None for row in rows if row.init == "random")


def test_a_control_with_another_fixed_field_is_no_control() -> None:
    runs = made_cell(f"{EFFNET}[projection=pca,regime=full]", (0.5, 0.6))
    runs += made_cell(f"{EFFNET}[init=random,projection=learned,regime=full]", (0.4, 0.5))
    assert _find(_compare(runs), f"{EFFNET}[projection=pca,regime=full]").gain_full is None


def test_a_cell_with_missing_seeds_has_values_but_no_mean() -> None:
    runs = made_cell("in_domain/unet", (0.7,))
    cell = made_expected("in_domain/unet", cell_id=runs[0].cell_id, init="random", state="partial", reason="")
    row = _compare(runs, expected=[cell])[0]
    assert (row.state, row.mean, row.spread) == ("incomplete", None, None)
    assert row.reason == "1 of 2 seeds finished"
    assert list(row.values) == [0]


def test_a_gain_over_an_incomplete_control_does_not_exist() -> None:
    runs = made_cell(FULL, (0.5, 0.6))
    runs += [made_run(f"{EFFNET}[init=random,regime=full]", seed=0)]
    runs += [made_run(f"{EFFNET}[init=random,regime=full]", seed=1, state="failed")]
    rows = _compare(runs)
    assert _find(rows, f"{EFFNET}[init=random,regime=full]").state == "failed"
    assert _find(rows, FULL).gain_full is None


def test_a_blocked_cell_is_listed_with_its_reason() -> None:
    row = _compare([], expected=[made_expected()])[0]
    assert (row.state, row.mean, row.values) == ("blocked", None, {})
    assert row.reason == "needs band centres in nm, and indian_pines has none"


def test_runs_of_cells_that_the_plan_does_not_ask_for_are_left_out() -> None:
    assert [row.strategy for row in _compare(made_sweep(), expected=[made_expected()])] == [
        "cross_domain/spectf[regime=lora]"
    ]


def test_seeds_that_the_plan_does_not_ask_for_are_in_no_mean() -> None:
    # the grid was started with four seeds and is now continued with two, or with others
    runs = made_cell("in_domain/unet", (0.5, 0.7, 0.1, 0.9))
    cell = made_expected("in_domain/unet", cell_id=runs[0].cell_id, init="random", state="partial", reason="")
    two = _compare(runs, expected=[replace(cell, final_seeds=(0, 1))], metric="oa")[0]
    assert (two.state, list(two.values)) == ("complete", [0, 1])
    assert two.mean == pytest.approx(np.mean([two.values[0], two.values[1]]))
    others = _compare(runs, expected=[replace(cell, final_seeds=(3, 4))], metric="oa")[0]
    assert (others.state, others.reason, others.mean) == ("incomplete", "1 of 2 seeds finished", None)


def test_two_finished_finals_for_one_seed_are_not_averaged() -> None:
    runs = made_cell("in_domain/unet", (0.7, 0.8))
    twin = replace(made_run("in_domain/unet", correct=0.2, seed=1), run_id="twin", key="twin")
    row = _compare([*runs, twin])[0]
    assert (row.state, row.mean) == ("incomplete", None)
    assert "reconcile" in row.reason


def test_the_choice_looks_at_validation_scores_only() -> None:
    runs = made_cell("in_domain/svm_rbf", (0.7, 0.7)) + made_cell("in_domain/unet", (0.9, 0.9))
    flipped = [replace(run, metrics={**run.metrics, "val/miou": 0.9 if "svm" in run.cell_id else 0.1}) for run in runs]
    chosen = [row.strategy for row in _compare(flipped) if row.chosen]
    assert chosen == ["in_domain/svm_rbf"]


def test_validation_is_that_of_the_weights_that_were_tested() -> None:
    run = made_run("in_domain/unet")
    best = replace(run, metrics={**run.metrics, "val/miou": 0.4, "val/best_miou": 0.6})
    last = replace(best, params={"train.checkpoint": "last"})
    assert _compare([best])[0].validation_mean == pytest.approx(0.6)
    assert _compare([last])[0].validation_mean == pytest.approx(0.4)


def test_nothing_is_chosen_while_a_cell_that_can_run_is_unfinished() -> None:
    runs = made_cell("in_domain/svm_rbf", (0.7, 0.7)) + [made_run("in_domain/unet", state="failed")]
    assert not any(row.chosen for row in _compare(runs))


def test_a_blocked_cell_does_not_hinder_the_choice() -> None:
    runs = made_cell("in_domain/svm_rbf", (0.7, 0.7)) + made_cell("in_domain/unet", (0.9, 0.9))
    cells = [
        made_expected(name, cell_id=f"{name}|indian_pines|10%", init="random", state="done", reason="")
        for name in ("in_domain/svm_rbf", "in_domain/unet")
    ]
    assert sum(row.chosen for row in _compare(runs, expected=[*cells, made_expected()])) == 1


def test_labels_derived_from_a_model_are_shown_but_never_chosen_or_aggregated() -> None:
    runs = made_sweep() + made_cell("in_domain/unet", (0.9, 0.9), dataset="samson", tags={"hsfm.labels": "derived"})
    rows = _compare(runs)
    derived = [row for row in rows if row.labels == "derived"]
    assert derived
    assert all(row.mean is not None and not row.chosen for row in derived)
    assert all("samson" not in entry.datasets for entry in across_datasets(rows))


def test_a_mean_across_data_sets_counts_each_once_and_is_absent_with_a_gap() -> None:
    runs = made_cell("in_domain/unet", (0.8, 0.8)) + made_cell("in_domain/unet", (0.6,), dataset="salinas_a")
    runs += made_cell("in_domain/svm_rbf", (0.8, 0.8))
    rows = _compare(runs)
    found = {entry.strategy: entry for entry in across_datasets(rows)}
    means = [row.mean for row in rows if row.strategy == "in_domain/unet"]
    assert found["in_domain/unet"].mean == pytest.approx(np.mean([mean for mean in means if mean is not None]))
    assert found["in_domain/svm_rbf"].mean is None


def test_label_curves_rise_in_budget_and_count_validation_labels() -> None:
    runs = made_cell("in_domain/unet", (0.7, 0.8), budget="50%") + made_cell("in_domain/unet", (0.6, 0.7))
    (curve,) = label_curves(_compare(runs))
    assert [point.label_budget for point in curve.points] == ["10%", "50%"]
    assert curve.points[0].labels == 280.0


def test_fractions_and_shots_are_separate_curves() -> None:
    runs = made_cell("in_domain/unet", (0.7, 0.8)) + made_cell("in_domain/unet", (0.6, 0.7), budget="5-shot")
    assert [curve.budget_kind for curve in label_curves(_compare(runs))] == ["fraction", "k_shot"]


@pytest.mark.parametrize(("contrasts", "seeds"), [(1, 6), (2, 7), (10, 9)])
def test_the_seeds_that_a_test_would_need_are_said(contrasts: int, seeds: int) -> None:
    assert seeds_needed(contrasts) == seeds


def test_a_control_that_is_both_controls_is_one_contrast() -> None:
    runs = made_cell(FULL, (0.5, 0.6)) + made_cell(f"{EFFNET}[init=random,regime=full]", (0.4, 0.5))
    assert count_contrasts(_compare(runs)) == 1


def test_class_scores_are_means_over_seeds_and_absent_without_test_pixels() -> None:
    row = _compare(made_cell("in_domain/unet", (0.6, 0.8)))[0]
    assert list(row.class_iou) == list(CLASS_NAMES)
    assert row.class_iou["corn"] == pytest.approx((0.6 / 1.4 + 0.8 / 1.2) / 2)


def test_seeds_needed_for_no_contrast_is_refused() -> None:
    with pytest.raises(ConfigError, match="0 contrasts"):
        seeds_needed(0)


def test_an_unknown_metric_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(ConfigError, match="Did you mean 'miou'"):
        compare(results_table([]), metric="mIoU")


def test_metrics_that_a_grid_may_name_are_those_that_are_computed() -> None:
    assert set(METRIC_NAMES) == set(METRICS) == set(METRIC_TITLES)


def test_a_budget_is_read_back_from_the_name_that_the_plan_gives_it() -> None:
    for given in (0.05, 1.0, {"k_shot": 5}, {"fraction": 0.25, "sampler": "whole_images"}):
        budget = LabelBudget.parse(given)
        assert parse_budget(str(budget)) == (budget.kind, pytest.approx(budget.value))


def test_comparison_data_is_plain_json() -> None:
    data = comparison_data(_compare(made_sweep()))
    assert json.loads(json.dumps(data, allow_nan=False)) == data


def _printed(rows: list[ComparisonRow], width: int = 130) -> str:
    console = Console(width=width, record=True, file=None, force_terminal=False)
    with console.capture() as capture:
        console.print(comparison_table(rows))
        console.print(comparison_notes(notes(rows)))
    return capture.get()


def test_the_terminal_table_shows_scores_gains_states_and_what_they_mean() -> None:
    text = _printed(_compare(made_sweep()) + _compare([], expected=[made_expected()]))
    for part in (
        "svm_rbf",
        "frozen · random weights",
        "±",
        "2/2",
        "cross_modality",
        "12.3k",
        "blocked",
        "No significance is claimed",
    ):
        assert part in text
    assert "derived" in text
    assert "No significance is claimed: with 6 contrasts" in " ".join(text.split())
    assert "foundation" not in text.lower()


def test_an_incomplete_cell_shows_no_number_in_the_terminal() -> None:
    runs = [made_run("in_domain/unet", correct=0.7, seed=0), made_run("in_domain/unet", seed=1, state="failed")]
    text = _printed(_compare(runs))
    assert "failed" in text
    assert "1/2" in text
    assert f"{100 * _score(runs[0]):.1f}" not in text


def test_a_leak_that_the_audit_found_is_said() -> None:
    rows = _compare(made_cell("in_domain/unet", (0.7, 0.8)))
    leaking = [replace(row, audit={"own_spectrum_share": 0.4}) for row in rows]
    assert "up to 40% of the test pixels lie inside a training neighbourhood" in " ".join(notes(leaking))
    assert "Audit" not in " ".join(notes(rows))


def test_a_comparison_of_nothing_says_so() -> None:
    assert "the grid has no cells" in _printed([])


def test_latex_escapes_names_and_shows_incomplete_cells_as_such() -> None:
    text = latex_table(_compare(made_cell("in_domain/svm_rbf", (0.7, 0.8))) + _compare([], expected=[made_expected()]))
    assert r"in\_domain/svm\_rbf & 10\% & $" in text
    assert r"\pm" in text
    assert r"spectf[regime=lora] & 10\% & blocked & 0" in text
    assert text.count(r"\begin") == text.count(r"\end") == 2


@pytest.mark.parametrize(("number", "text"), [(None, "-"), (512, "512"), (25538, "25.5k"), (4652008, "4.65M")])
def test_counts_are_short(number: int | None, text: str) -> None:
    assert short_count(number) == text
