"""Published numbers: as printed, never mixed with results, and trained again by their own protocol."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_results import made_cell, made_run
from rich.console import Console

from dashboards.comparison import render
from orchestrator.analysis.benchmark import benchmark_data, main_table
from orchestrator.analysis.benchmark_terminal import benchmark_parts
from orchestrator.analysis.results import results_table, write_parquet
from orchestrator.analysis.summary import compare, comparison_data
from orchestrator.analysis.wording import strategy_words
from orchestrator.cli import main
from orchestrator.cli.verify import has_passed, verification_report
from orchestrator.datasets.imitate import imitate
from orchestrator.errors import ConfigError
from orchestrator.plan.expand import expand
from orchestrator.reference import GENERATED, METRICS, find_row, published_rows, reference_lines
from orchestrator.reproduction import VERIFIED_ROWS, Reproduced, reproduction_grid

DEEPLAB = "cross_modality/deeplabv3plus[regime=full]"
CROSS_DOMAIN = "cross_domain/spectf[regime=frozen]"
ALL = "100% whole_images"


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)


def can_train() -> list[str]:
    return [row.name for row in published_rows() if not row.reason]


# --- the table -----------------------------------------------------------------------------------------------------


def test_the_printed_means_over_data_sets_are_those_of_the_rows_but_for_the_one_that_says_so() -> None:
    rows = {row.name: row for row in published_rows()}
    off = []
    for row in (row for row in rows.values() if row.dataset == "mean"):
        _, method, shown = row.name.split("/")
        for metric in METRICS:
            three = [rows[f"{name}/{method}/{shown}"].values[metric] for name in ("hcv2", "hyko2", "hsi_drive")]
            if abs(np.mean(three) - row.values[metric]) > 0.006:
                off.append((row.name, metric))
    assert off == [("mean/runet/hsi", "miou")]
    assert "42.23" in rows["mean/runet/hsi"].inconsistent
    assert "42.23" in rows["hcv2/runet/hsi"].inconsistent


def test_every_row_has_a_source_and_a_protocol_and_a_strategy_or_a_reason() -> None:
    rows = published_rows()
    assert len({row.name for row in rows}) == len(rows)
    for row in rows:
        assert row.values
        assert all(0 < value < 100 for value in row.values.values())
        assert row.source.protocol
        assert row.source.title
        assert bool(row.strategy) != bool(row.reason)
    assert "Cityscapes" in find_row("hyko2/deeplabv3plus_pt/prgb").reason
    assert "camera" in find_row("hcv2/deeplabv3plus_bb/rgb").reason


def test_lines_belong_to_one_data_set_and_one_protocol() -> None:
    assert {row.source.protocol for row in reference_lines("hyko2", "hs3-2024")} == {"hs3-2024"}
    assert reference_lines("indian_pines", "hs3-2024") == []
    # the table of 2024 was made with another validation split than that of 2026
    assert [row.values for row in reference_lines("hcv2", "hs3-2026")] == [{"oa": 88.17}]
    assert len(reference_lines("hcv2_2024", "hs3-2024")) == 10


def test_a_value_with_commas_stays_one_word() -> None:
    (row,) = rows_of(hyko2("in_domain/runet[input=pseudo_rgb,rgb_bands=14,7,0]", 0.6))
    assert strategy_words(row) == ("runet", "in_domain · input=pseudo_rgb · rgb_bands=14,7,0")


# --- a row as a sweep ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", can_train())
def test_a_row_is_one_cell_without_search_by_its_protocol(name: str) -> None:
    row = find_row(name)
    grid = reproduction_grid([row], "again")
    (cell,) = expand(grid)
    assert cell.cell.strategy.fixed == ("learning_rate",)
    assert cell.cell.strategy.fields["learning_rate"] == 0.001
    assert (grid.seeds, grid.first_seed, grid.protocol) == (1, 42, "hs3-2024")
    assert cell.train.epochs == 500
    assert cell.train.undefined_output
    assert cell.train.batch_size == {"hyko2": 16, "hsi_drive": 32, "hcv2_2024": 4}[row.dataset]
    assert cell.train.augmentation == ("rare_mirror" if "runet" in name else "none")
    assert cell.train.precision == ("fp16" if row.dataset == "hcv2_2024" else "fp32")


def test_a_row_that_cannot_be_trained_here_says_why_and_starts_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["reproduce", "hyko2/deeplabv3plus_pt/prgb"]) == 2
    assert "Cityscapes" in capsys.readouterr().err
    row = find_row("hyko2/unet/hsi")
    other = replace(row, source=replace(row.source, protocol="hs3-2026"))
    with pytest.raises(ConfigError, match="protocols in one sweep"):
        reproduction_grid([row, other], "two")


def test_the_list_says_what_can_be_trained_and_names_generated_data(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["reproduce", "--list", "--json"]) == 0
    absent = {row["row"]: row for row in json.loads(capsys.readouterr().out)["rows"]}
    assert not any(row["can_run"] for row in absent.values())
    assert absent["hyko2/unet/hsi"]["remedy"]
    imitate("hyko2", tmp_path / "made", images=4)
    assert main(["reproduce", "--list", "--data-root", str(tmp_path / "made")]) == 0
    lines = [line for line in capsys.readouterr().out.splitlines() if line.startswith("hyko2/unet/hsi ")]
    assert len(lines) == 1
    assert GENERATED in lines[0]


def test_verify_without_data_or_with_generated_data_starts_nothing_and_says_what_to_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["verify", "hs3bench"]) == 2
    assert "data fetch hyko2" in capsys.readouterr().err
    imitate("hyko2", tmp_path / "made", images=4)
    assert main(["verify", "hs3bench", "--data-root", str(tmp_path / "made")]) == 2
    assert GENERATED in capsys.readouterr().err
    assert not (tmp_path / "hsfm_sweeps").exists()


def reproduced(name: str, off: float, **changes: Any) -> Reproduced:
    row = find_row(name)
    ours = {metric: value + off for metric, value in row.values.items()}
    return Reproduced(row=row, ours=ours, own=ours, **{"state": "complete", "is_generated": False, **changes})


def test_verify_passes_within_three_points_of_every_row_and_never_otherwise() -> None:
    close = [reproduced(name, off) for name, off in zip(VERIFIED_ROWS, (-2.9, 0.0, 2.9), strict=True)]
    assert has_passed(close, None)
    assert "verify hs3bench: PASSED" in verification_report(close, None)
    assert not has_passed(close, 20)
    assert not has_passed([*close[:2], reproduced(VERIFIED_ROWS[2], 3.1)], None)
    assert not has_passed([*close[:2], reproduced(VERIFIED_ROWS[2], 0.0, is_generated=True)], None)
    unfinished = Reproduced(row=close[0].row, ours={}, own={}, state="failed: it broke", is_generated=False)
    assert not has_passed([unfinished, *close[1:]], None)
    assert "failed: it broke" in verification_report([unfinished], None)


# --- beside our results --------------------------------------------------------------------------------------------


def rows_of(*cells: Any) -> list[Any]:
    return compare(results_table([run for cell in cells for run in cell]))


def hyko2(strategy: str, *correct: float, **tags: str) -> Any:
    return made_cell(strategy, correct, dataset="hyko2", budget=ALL, tags={f"hsfm.{k}": v for k, v in tags.items()})


def test_the_share_closed_is_cross_domains_part_of_the_gap_to_cross_modality() -> None:
    rows = rows_of(
        hyko2("in_domain/unet", 0.6, 0.7),
        hyko2("in_domain/runet", 0.5, 0.5),
        hyko2(DEEPLAB, 0.9, 0.9),
        hyko2(CROSS_DOMAIN, 0.8, 0.8, transfer="cross_domain"),
    )
    (line,) = main_table(rows)
    assert line["in_domain"]["strategy"] == "in_domain/unet"
    means = {row.strategy: row.mean for row in rows}
    gap = means[DEEPLAB] - means["in_domain/unet"]
    assert line["gain_cross_modality"]["mean"] == pytest.approx(gap)
    assert line["gap_left"]["mean"] == pytest.approx(means[DEEPLAB] - means[CROSS_DOMAIN])
    assert line["share_closed"] == pytest.approx((means[CROSS_DOMAIN] - means["in_domain/unet"]) / gap)
    assert line["reason"] == ""


def test_no_share_is_told_without_a_cross_domain_cell_or_without_a_gap_or_from_a_part_of_the_cells() -> None:
    (line,) = main_table(rows_of(hyko2("in_domain/unet", 0.6), hyko2(DEEPLAB, 0.9)))
    assert (line["share_closed"], line["reason"]) == (None, "no cross-domain cell")
    cross = hyko2(CROSS_DOMAIN, 0.8, transfer="cross_domain")
    (line,) = main_table(rows_of(hyko2("in_domain/unet", 0.9), hyko2(DEEPLAB, 0.6), cross))
    assert line["share_closed"] is None
    assert "no gap to close" in line["reason"]
    failed = [made_run("in_domain/runet", dataset="hyko2", budget=ALL, state="failed")]
    (line,) = main_table(rows_of(hyko2("in_domain/unet", 0.6), failed, hyko2(DEEPLAB, 0.9), cross))
    assert line["gain_cross_modality"] is None
    assert line["reason"] == "1 of 2 in-domain cells not complete"


def test_published_scores_are_drawn_beside_ours_under_the_same_protocol_only(tmp_path: Path) -> None:
    runs = [*hyko2("in_domain/unet", 0.6), *hyko2(DEEPLAB, 0.9)]
    table = results_table(runs)
    rows = compare(table)
    assert benchmark_data(rows, table, "") is None
    same, other = benchmark_data(rows, table, "hs3-2024"), benchmark_data(rows, table, "hs3-2026")
    assert same is not None
    assert other is not None
    assert {line["is_drawn"] for line in same["published"]} == {True}
    assert {line["is_drawn"] for line in other["published"]} == {False}
    plain = comparison_data(rows)
    assert all(line["row"] not in json.dumps(plain) for line in same["published"])
    pages = []
    for number, data in enumerate((same, other)):
        file = write_parquet(table, tmp_path / f"{number}.parquet", comparison=plain | {"benchmark": data}, sweep={})
        pages.append(render(file, tmp_path / f"{number}.html").read_text("utf-8"))
    assert "DL3+(BB), pRGB 66.8 (hs3-2024)" in pages[0]
    assert "66.8 (hs3-2024)" not in pages[1]
    assert "published under another protocol" in pages[1]


def test_nothing_published_stands_beside_generated_data_without_a_word(tmp_path: Path) -> None:
    runs = [*hyko2("in_domain/unet", 0.6, labels="generated"), *hyko2(DEEPLAB, 0.9, labels="generated")]
    table = results_table(runs)
    rows = compare(table)
    data = benchmark_data(rows, table, "hs3-2024")
    assert data is not None
    assert all(line["warning"] == GENERATED for line in (*data["published"], *data["main"]))
    console = Console(record=True, width=120)
    for part in benchmark_parts(data):
        console.print(part)
    assert "generated data" in console.export_text()
    file = write_parquet(
        table, tmp_path / "r.parquet", comparison=comparison_data(rows) | {"benchmark": data}, sweep={}
    )
    assert GENERATED in render(file, tmp_path / "r.html").read_text("utf-8").partition('id="benchmark"')[2]


def test_both_conventions_are_shown_where_they_differ() -> None:
    runs = [*hyko2("in_domain/unet", 0.6), *hyko2("in_domain/runet", 0.7)]
    for run in runs:
        if run.stage == "final":
            lower = 0.9 if "runet" in run.cell_id else 1.0
            run.metrics.update({f"test/compat_{name}": run.metrics[f"test/{name}"] for name in METRICS})
            run.metrics["test/compat_aa"] *= lower
    table = results_table(runs)
    data = benchmark_data(compare(table), table, "hs3-2024")
    assert data is not None
    (line,) = data["compat"]
    assert line["strategy"] == "in_domain/runet"
    assert line["compat"]["aa"] == pytest.approx(0.9 * line["own"]["aa"])
