"""The results table: one row a run, typed, absent is null, and the same after a round trip."""

from __future__ import annotations

import csv
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from made_results import CLASS_NAMES, confusion, made_run, made_sweep

from orchestrator.analysis.results import parse_budget, read_parquet, results_table, write_csv, write_parquet
from orchestrator.analysis.schema import SCHEMA, SCHEMA_VERSION
from orchestrator.errors import DataError
from orchestrator.metrics import scores


def test_every_run_is_one_row_in_the_fixed_schema() -> None:
    rows = made_sweep()
    table = results_table(rows)
    assert table.num_rows == len(rows)
    assert table.schema.equals(SCHEMA, check_metadata=True)


def test_a_table_survives_parquet_unchanged(tmp_path: Path) -> None:
    table = results_table(made_sweep())
    assert read_parquet(write_parquet(table, tmp_path / "a" / "results.parquet")).equals(table)


def test_whole_numbers_stay_whole_through_parquet_and_csv(tmp_path: Path) -> None:
    table = results_table([made_run("in_domain/unet"), made_run("in_domain/unet", stage="search", state="stopped")])
    back = read_parquet(write_parquet(table, tmp_path / "results.parquet"))
    assert back.schema.field("labels_train").type == pa.int64()
    assert back["labels_train"].to_pylist() == [224, None]
    with write_csv(table, tmp_path / "results.csv").open(newline="") as stream:
        assert [row["labels_train"] for row in csv.DictReader(stream)] == ["224", ""]


def test_what_a_run_does_not_have_is_null_and_not_zero() -> None:
    row = results_table([made_run("in_domain/unet", stage="search", state="stopped")]).to_pylist()[0]
    for name in ("test_miou", "headline_miou", "labels_train", "units", "test_iou", "control_of", "train_loss"):
        assert row[name] is None


def test_a_score_that_is_not_a_number_is_null() -> None:
    run = made_run("in_domain/unet", stage="search", state="failed")
    row = results_table([run.__class__(**{**run.__dict__, "metrics": {"val/miou": float("nan")}})]).to_pylist()[0]
    assert row["val_miou"] is None


def test_class_scores_come_from_the_confusion_matrices_of_all_units() -> None:
    units = [{"name": "a", "confusion": confusion(1.0)}, {"name": "b", "confusion": confusion(0.5)}]
    evaluation = {"class_names": list(CLASS_NAMES), "scored_classes": [0, 1], "headline_classes": None, "units": units}
    row = results_table([made_run("in_domain/unet", evaluation=evaluation)]).to_pylist()[0]
    assert row["test_recall"] == [pytest.approx(0.75), pytest.approx(0.75), None]
    assert [unit["name"] for unit in row["units"]] == ["a", "b"]
    assert row["units"][0]["confusion"] == confusion(1.0)


def test_headline_scores_run_over_the_headline_classes() -> None:
    matrix = [[90, 5, 5], [0, 10, 0], [0, 5, 5]]
    evaluation = {
        "class_names": ["background", "fat", "meat"],
        "scored_classes": [0, 1, 2],
        "headline_classes": ["fat", "meat"],
        "units": [{"name": "day 1", "confusion": matrix}],
    }
    row = results_table([made_run("in_domain/unet", evaluation=evaluation)]).to_pylist()[0]
    assert row["headline_miou"] == pytest.approx(scores(matrix, (1, 2))["miou"])
    assert row["headline_miou"] != pytest.approx(row["test_miou"])


def test_headline_scores_are_the_test_scores_where_no_class_is_singled_out() -> None:
    row = results_table([made_run("in_domain/unet")]).to_pylist()[0]
    assert row["headline_miou"] == row["test_miou"]


def test_a_tag_of_the_wrong_type_is_refused_with_run_and_value() -> None:
    with pytest.raises(DataError, match="hsfm.seed is 'two'; allowed: int64"):
        results_table([made_run("in_domain/unet", tags={"hsfm.seed": "two"})])


def test_an_empty_sweep_is_an_empty_table_that_can_be_written(tmp_path: Path) -> None:
    assert read_parquet(write_parquet(results_table([]), tmp_path / "results.parquet")).num_rows == 0


def test_a_table_of_another_schema_version_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "results.parquet"
    old = results_table([]).replace_schema_metadata({b"hsfm.schema_version": b"0"})
    pq.write_table(old, path)
    with pytest.raises(DataError, match=f"schema version 0; this version reads {SCHEMA_VERSION}"):
        read_parquet(path)


@pytest.mark.parametrize("content", [None, b"not parquet"])
def test_a_missing_or_damaged_results_file_is_refused_with_the_command_that_writes_it(
    tmp_path: Path, content: bytes | None
) -> None:
    path = tmp_path / "results.parquet"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match="hsfm-sweep report"):
        read_parquet(path)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("10%", ("fraction", 0.1)),
        ("2.5% whole_images", ("fraction", 0.025)),
        ("5-shot", ("k_shot", 5.0)),
        ("much", (None, None)),
        (None, (None, None)),
    ],
)
def test_a_label_budget_is_read_back_from_its_name(text: str | None, expected: tuple[str | None, float | None]) -> None:
    assert parse_budget(text) == expected
