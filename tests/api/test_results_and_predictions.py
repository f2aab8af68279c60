"""What a notebook reads from a finished sweep: results, the comparison, and predictions of every pixel."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from orchestrator.api import load_comparison, load_predictions, load_results, plan
from orchestrator.errors import ConfigError, DataError

SWEEP = "killed"


@pytest.fixture
def grid(undisturbed: Path) -> Path:
    return undisturbed / f"{SWEEP}.yaml"


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def finals(undisturbed: Path) -> list[dict[str, Any]]:
    return [run for run in load_results(undisturbed / SWEEP).to_pylist() if run["stage"] == "final"]


# --- results -------------------------------------------------------------------------------------------------------


def test_results_from_the_ledger_are_those_of_the_report(undisturbed: Path, grid: Path) -> None:
    written = pq.read_table(undisturbed / SWEEP / "report" / "results.parquet")
    for table in (load_results(grid, root=undisturbed), load_results(str(undisturbed / SWEEP))):
        assert table.to_pylist() == written.to_pylist()
        assert table.to_pandas().shape == (18, len(written.column_names))


def test_every_final_run_has_a_confusion_matrix_for_every_test_block(undisturbed: Path) -> None:
    # of the file, not of the ledger: it is what people keep
    table = pq.read_table(undisturbed / SWEEP / "report" / "results.parquet")
    finals = [run for run in table.to_pylist() if run["stage"] == "final"]
    assert len(finals) == 6
    names = {tuple(unit["name"] for unit in run["units"]) for run in finals}
    assert len(names) == 1
    assert len(names.pop()) > 10
    for run in finals:
        counts = np.array([unit["confusion"] for unit in run["units"]])
        assert counts.shape[1:] == (16, 16)
        assert np.trace(counts.sum(axis=0)) / counts.sum() == pytest.approx(run["test_oa"], abs=1e-12)
    assert all(run["units"] is None for run in table.to_pylist() if run["stage"] == "search")


def test_the_comparison_has_one_row_a_cell_with_an_interval_around_its_mean(undisturbed: Path, grid: Path) -> None:
    table = load_comparison(grid, root=undisturbed)
    rows = {row["strategy"]: row for row in table.to_pylist()}
    assert set(rows) == {"in_domain/svm_rbf", "in_domain/spectral_cnn", "in_domain/unet"}
    for row in rows.values():
        assert (row["state"], row["seeds"], row["metric"]) == ("complete", 2, "miou")
        assert 0 <= row["interval_low"] < row["interval_high"] <= 1
    assert sum(row["chosen"] for row in rows.values()) == 1
    from_folder = load_comparison(undisturbed / SWEEP, intervals=False).to_pylist()
    assert {row["strategy"]: row["mean"] for row in from_folder} == {n: row["mean"] for n, row in rows.items()}
    assert all(row["interval_low"] is None for row in from_folder)


def test_the_comparison_can_be_read_where_the_data_set_is_not_prepared(
    undisturbed: Path, grid: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "empty"))
    rows = load_comparison(grid, root=undisturbed, metric="balanced_accuracy", intervals=False).to_pylist()
    assert [(row["state"], row["metric"]) for row in rows] == [("complete", "aa")] * 3


@pytest.mark.parametrize(
    ("sweep", "words"),
    [("quik", "Did you mean 'quick'"), ("smoke", "has no runs in"), (Path("."), "not a sweep's own folder")],
)
def test_what_is_no_sweep_is_refused_with_what_is_allowed(sweep: Any, words: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=words):
        load_results(sweep if sweep != Path(".") else tmp_path, root=tmp_path)


# --- predictions ---------------------------------------------------------------------------------------------------


def test_predictions_count_exactly_as_the_stored_confusion_matrices(
    undisturbed: Path, grid: Path, finals: list[dict[str, Any]]
) -> None:
    for run in finals:
        predictions = load_predictions(run["key"], grid, root=undisturbed)
        assert predictions.differing_pixels == 0
        stored = np.sum([unit["confusion"] for unit in run["units"]], axis=0)
        assert (predictions.confusion("test") == stored).all()
        assert (predictions.seed, predictions.cell_name) == (run["seed"], run["cell_name"])


def test_every_pixel_has_one_side_and_the_sides_have_the_labels_that_the_run_counted(
    undisturbed: Path, finals: list[dict[str, Any]]
) -> None:
    run = finals[0]
    (image,) = load_predictions(run["key"], undisturbed / SWEEP)
    assert image.labels_HW.shape == image.target_HW.shape == image.side_HW.shape == (145, 145)
    assert image.mask("train").sum() == run["labels_train"]
    assert image.mask("validation").sum() == run["labels_validation"]
    assert (image.target_HW[~image.mask("ignored")] >= 0).all()
    assert set(np.unique(image.labels_HW)) <= set(range(16))
    assert image.class_names == tuple(run["class_names"])
    with pytest.raises(ConfigError, match="Did you mean 'train'"):
        image.mask("trian")


def test_a_prediction_that_counts_otherwise_is_told(
    undisturbed: Path, finals: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.execution.saved_model import SavedModel

    run = finals[0]

    def all_first_class(_: Any, __: Any, height: int, width: int) -> Any:
        yield slice(0, height), np.zeros((height, width), dtype=np.int64), None

    monkeypatch.setattr(SavedModel, "predict_strips", all_first_class)
    with pytest.warns(UserWarning, match="test pixels are counted otherwise"):
        predictions = load_predictions(run["key"], undisturbed / SWEEP)
    stored = np.sum([unit["confusion"] for unit in run["units"]], axis=0)
    assert predictions.differing_pixels == stored[:, 1:].sum()


def test_the_best_run_and_images_can_be_named_and_wrong_names_are_refused(undisturbed: Path, grid: Path) -> None:
    best = load_predictions("best", grid, root=undisturbed, images=["indian_pines"])
    assert best.dataset == "indian_pines"
    with pytest.raises(ConfigError, match="image of indian_pines 'nowhere'"):
        load_predictions("best", grid, root=undisturbed, images=["nowhere"])
    with pytest.raises(ConfigError, match="feed"):
        load_predictions("feed", undisturbed / SWEEP)


def test_data_that_changed_since_are_refused(
    undisturbed: Path, finals: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    import dataclasses

    from orchestrator.datasets import store

    real = store.open_prepared
    monkeypatch.setattr(store, "open_prepared", lambda path: dataclasses.replace(real(path), digest="another"))
    with pytest.raises(DataError, match="has digest another, but run"):
        load_predictions(finals[0]["key"], undisturbed / SWEEP)


# --- the plan ------------------------------------------------------------------------------------------------------


def test_a_plan_shows_itself_in_a_notebook_and_in_print(undisturbed: Path, grid: Path) -> None:
    found = plan(grid, root=undisturbed)
    assert found._repr_html_().count("all 6 runs are in the ledger") == 3
    assert "killed: 3 cells (3 done); runs 18/18" in str(found)
    assert found.table().to_pandas()["state"].tolist() == ["done"] * 3


def test_names_in_a_plan_cannot_break_the_page(undisturbed: Path, grid: Path) -> None:
    import dataclasses

    found = plan(grid, root=undisturbed)
    cell = dataclasses.replace(found.cells[0], reason="<script>alert(1)</script>")
    assert "<script>" not in dataclasses.replace(found, cells=(cell,))._repr_html_()
