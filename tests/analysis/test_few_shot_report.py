"""The few-shot part of a report: two test sets apart, label efficiency, regions, shared seconds, published scores."""

from __future__ import annotations

import csv
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from made_results import EFFNET, made_cell, made_expected, made_few_shot, made_stage
from rich.console import Console

from orchestrator.analysis.aggregates import across_datasets, label_curves
from orchestrator.analysis.few_shot import few_shot_data
from orchestrator.analysis.few_shot_terminal import few_shot_parts
from orchestrator.analysis.label_efficiency import Efficiency, area, efficiencies, efficiency_table
from orchestrator.analysis.results import results_table, write_csv
from orchestrator.analysis.rows import ComparisonRow
from orchestrator.analysis.shared_stages import shared_stages
from orchestrator.analysis.summary import compare, comparison_data
from orchestrator.analysis.terminal import comparison_table, shared_table
from orchestrator.analysis.wording import BORDER_PX, notes
from orchestrator.execution import pieces
from orchestrator.ledger.records import RunRow

SVM, UNET, NET = "in_domain/svm_rbf", "in_domain/unet", f"{EFFNET}[regime=full]"
CONTROL = f"{EFFNET}[init=random,regime=full]"
CURVES = {
    SVM: {1: (0.30, 0.32), 5: (0.50, 0.52), 20: (0.60, 0.62)},
    NET: {1: (0.40, 0.42), 5: (0.60, 0.62), 20: (0.70, 0.72)},
    CONTROL: {1: (0.20, 0.22), 5: (0.30, 0.32), 20: (0.40, 0.42)},
}
BOTH = made_few_shot(CURVES) + made_few_shot(
    {name: {k: [v + 0.2 for v in values] for k, values in curve.items()} for name, curve in CURVES.items()},
    split="random",
)


def rows_of(runs: list[RunRow], **settings: Any) -> list[ComparisonRow]:
    return compare(results_table(runs), metric="oa", **settings)


def entry(found: list[Efficiency], strategy: str, split: str = "block") -> Efficiency:
    return next(one for one in found if (one.strategy, one.split) == (strategy, split))


def printed(*parts: Any) -> str:
    console = Console(width=160, record=True, file=Path("/dev/null").open("w"))  # noqa: SIM115
    for part in parts:
        console.print(part)
    return console.export_text()


def test_nothing_goes_across_two_splits_of_one_scene() -> None:
    rows = rows_of(BOTH)
    assert len(rows) == 18
    for row in rows:
        if row.strategy == NET:
            assert row.gain_full is not None
            partner = next(o for o in rows if o.strategy == CONTROL and o.group == row.group)
            assert row.gain_full.differences == {seed: row.values[seed] - partner.values[seed] for seed in row.values}
    assert sum(row.chosen for row in rows) == 6  # three budgets, each in two test sets
    assert {(c.strategy, c.split): len(c.points) for c in label_curves(rows)}[NET, "random"] == 3
    means = {(m.strategy, m.label_budget, m.has_random_split): m.mean for m in across_datasets(rows)}
    assert means[SVM, "5-shot", True] == pytest.approx(means[SVM, "5-shot", False] + 0.2)
    assert any("are different test sets" in note for note in notes(rows))


def test_another_data_sets_own_split_is_averaged_but_a_random_one_is_not() -> None:
    runs = made_cell(SVM, (0.5,)) + made_cell(SVM, (0.7,), dataset="hyko2", tags={"hsfm.split": "images"})
    (mean,) = across_datasets(rows_of(runs))
    assert (mean.datasets, mean.mean) == (("indian_pines", "hyko2"), pytest.approx(0.6))
    leaking = made_cell(SVM, (0.5,)) + made_cell(SVM, (0.7,), dataset="salinas", tags={"hsfm.split": "random"})
    assert [mean.mean for mean in across_datasets(rows_of(leaking))] == [pytest.approx(0.5), pytest.approx(0.7)]


def test_area_is_the_mean_height_over_log2_of_the_labels() -> None:
    assert area((1, 2, 4), (0.0, 1.0, 1.0)) == pytest.approx(0.75)
    assert area((1, 2, 16), (0.0, 1.0, 1.0)) == pytest.approx(0.875)  # three of four doublings at full height


def test_labels_to_reach_are_read_off_where_the_line_between_means_crosses_the_best_baseline() -> None:
    found = efficiencies(rows_of(BOTH))
    net = entry(found, NET)
    assert net.target is not None
    assert (net.target.strategy, net.target.shots, net.target.score) == (SVM, 20, pytest.approx(0.61))
    assert net.reached == "reached"
    assert net.shots_to_target == pytest.approx(5.0)  # the pretrained one has 0.61 with 5
    assert entry(found, CONTROL).reached == "not reached"
    assert entry(found, SVM).shots_to_target == pytest.approx(20)
    random = entry(found, NET, "random").target
    assert random is not None
    assert random.score == pytest.approx(0.81)


def test_a_curve_with_a_gap_has_no_area_and_an_open_baseline_gives_no_score_to_reach() -> None:
    runs = [run for run in BOTH if not (run.tags["hsfm.strategy"] == NET and run.tags["hsfm.label_budget"] == "5-shot")]
    gap = entry(efficiencies(rows_of(runs)), NET)
    assert (gap.area, gap.reached, gap.reason) == (None, None, "no complete cell with 5-shot")
    open_cell = made_expected(UNET, label_budget="20-shot", init="random", state="missing", reason="not run yet")
    found = efficiencies([*rows_of(made_few_shot(CURVES)), *rows_of([], expected=[open_cell])])
    assert entry(found, NET).target is None
    assert entry(found, NET).area is not None


def test_one_number_of_labels_is_no_curve(tmp_path: Path) -> None:
    assert efficiencies(rows_of(made_few_shot({SVM: {5: (0.5, 0.6)}}))) == []
    assert few_shot_data(rows_of(made_cell(SVM, (0.5,)))) is None


def test_the_csv_holds_every_curve_and_leaves_absent_values_empty(tmp_path: Path) -> None:
    path = write_csv(efficiency_table(efficiencies(rows_of(BOTH))), tmp_path / "label_efficiency.csv")
    lines = list(csv.DictReader(path.open()))
    assert {(line["strategy"], line["split"]) for line in lines} == {
        (s, p) for s in CURVES for p in ("block", "random")
    }
    control = next(line for line in lines if line["strategy"] == CONTROL)
    assert (control["shots"], control["reached"], control["shots_to_target"]) == ("1 5 20", "not reached", "")


def test_intervals_are_over_five_seeds_or_more() -> None:
    rows = rows_of(made_few_shot({SVM: {1: (0.3, 0.31, 0.33, 0.35, 0.36), 5: (0.5,) * 5}}))
    assert rows[0].interval is not None
    low, high = rows[0].interval
    assert 0.3 < low < rows[0].mean < high < 0.36  # type: ignore[operator]
    (curve,) = efficiencies(rows)
    assert curve.area_interval is not None
    assert all(row.interval is None for row in rows_of(BOTH))


def test_accuracy_at_borders_is_shown_where_it_was_measured_with_its_meaning() -> None:
    row = rows_of(BOTH)[0]
    assert row.mean is not None
    assert (row.oa_border, row.oa_interior) == (pytest.approx(row.mean - 0.1), pytest.approx(row.mean + 0.02))
    shown = printed(comparison_table([row]), *notes([row]))
    assert f"{100 * row.oa_border:.1f}" in shown  # type: ignore[operator]
    assert "within 2 px of another class" in shown
    assert BORDER_PX == pieces.BORDER_PX
    assert "border" not in printed(comparison_table(rows_of(made_cell(SVM, (0.5,)))))


def test_shared_seconds_stand_beside_a_cells_own_and_once_in_their_table() -> None:
    stages = [made_stage(f"pretrain of {EFFNET}", seed=seed) for seed in range(3)]
    runs = made_few_shot({NET: {1: (0.4, 0.5), 5: (0.6, 0.7)}, SVM: {1: (0.3, 0.4)}})
    by_id = {run.cell_id: run for run in runs}
    expected = [
        made_expected(
            run.tags["hsfm.strategy"],
            cell_id=cell_id,
            label_budget=run.tags["hsfm.label_budget"],
            state="done",
            stages=tuple(stage.cell_id for stage in stages) if run.tags["hsfm.strategy"] == NET else (),
        )
        for cell_id, run in by_id.items()
    ]
    table = results_table([*runs, *stages])
    rows = compare(table, metric="oa", expected=expected)
    assert [row.shared_s for row in rows] == [{"pretrain": 300.0}, {"pretrain": 300.0}, {}]
    assert rows[0].device_s == {"final": 25.0, "search": 12.5}
    (stage,) = shared_stages(table, expected)
    assert (stage.runs, stage.device_s, stage.cells) == (3, 300.0, 2)
    assert f"pretrain of {EFFNET}, enmap_potsdam" in printed(shared_table([stage]))
    assert "38 + 300" in printed(comparison_table(rows))
    # a stage is no cell, also where no plan says what the cells are
    assert {row.strategy for row in compare(table, metric="oa")} == {NET, SVM}


def test_published_scores_stand_beside_the_same_scene_and_labels_with_their_flags() -> None:
    data = few_shot_data(rows_of(BOTH))
    assert data is not None
    (panel,) = data["published"]
    assert (panel["dataset"], panel["labels_per_class"]) == ("indian_pines", 5)
    assert panel["same_test_pixels"] == ["random"]
    lines = {line["method"]: line for line in panel["lines"]}
    assert lines["DCFSL"]["flags"] == ["random pixels", "best-test checkpoint", "whole-scene statistics", "copied"]
    assert "transductive" in lines["MIFOMO"]["flags"]
    assert lines["ADAFSL"]["flags"] == ["random pixels", "checkpoint rule unknown", "copied"]
    shown = printed(*few_shot_parts(data))
    assert "ANOTHER TEST SET than our block split" in shown
    assert not set(lines) & {row.strategy for row in rows_of(BOTH)}


def test_published_scores_on_random_pixels_are_another_test_set_for_a_sweep_on_blocks() -> None:
    data = few_shot_data(rows_of(made_few_shot(CURVES)))
    assert data is not None
    assert data["published"][0]["beside"] == "random test pixels, ANOTHER TEST SET than our block split"
    # no mIoU was published
    assert few_shot_data([replace(row, metric="miou") for row in rows_of(BOTH)])["published"] == []  # type: ignore[index]


def test_the_few_shot_part_is_in_what_a_results_file_holds() -> None:
    rows = rows_of(BOTH)
    data = comparison_data(rows)
    assert data["few_shot"]["metric"] == "oa"
    assert data["shared"] == []
