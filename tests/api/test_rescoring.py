"""`hsfm-sweep rescore`: further scores from stored confusion matrices, checked against scikit-learn."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from made_results import made_cell
from sklearn import metrics as reference

from orchestrator.analysis.results import results_table
from orchestrator.cli import main
from orchestrator.ledger.queries import run_rows
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import open_ledger

Run = Callable[..., tuple[int, str, str]]
REFERENCE = {
    "oa": reference.accuracy_score,
    "aa": reference.balanced_accuracy_score,
    "kappa": reference.cohen_kappa_score,
    "mcc": reference.matthews_corrcoef,
    "weighted_f1": lambda t, p: reference.f1_score(t, p, average="weighted"),
    "fw_iou": lambda t, p: reference.jaccard_score(t, p, average="weighted"),
    # the tool's macro means run over classes with test pixels, whatever was predicted
    "miou": lambda t, p: reference.jaccard_score(t, p, average="macro", labels=np.unique(t)),
    "mean_f1": lambda t, p: reference.f1_score(t, p, average="macro", labels=np.unique(t)),
    "macro_precision": lambda t, p: reference.precision_score(
        t, p, average="macro", labels=np.unique(t), zero_division=0
    ),
}


@pytest.fixture(autouse=True)
def no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def no_data(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is prepared: scoring again needs no data."""
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HSFM_DATA_ROOT", raising=False)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(["rescore", *arguments])
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


@pytest.fixture
def finished(undisturbed: Path) -> tuple[str, ...]:
    """Arguments that name a sweep that was really run; only to be read."""
    return ("--grid", str(undisturbed / "killed.yaml"), "--out", str(undisturbed))


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a small ledger: one cell with two finished final runs and a trial. Each test adds other scores."""
    root = tmp_path_factory.mktemp("rescored")
    with open_ledger(root / "smoke", "smoke", mode="drive") as ledger:
        for number, row in enumerate(made_cell("in_domain/unet", (0.6, 0.8))):
            key = f"{number:016x}"
            if not number:
                ledger.ensure_cell("c1", row.tags["hsfm.cell_name"], row.tags)
            ledger.put_slot("c1", SlotRecord(slot=row.slots[0], key=key, state="finished", reached_step=40))
            ledger.start_run(key, "c1", row.slots[0], 1, row.slots, row.tags, row.params)
            ledger.log_metrics(key, 40, row.metrics)
            if row.evaluation:
                ledger.log_json(key, "evaluation.json", row.evaluation)
            ledger.end_run(key, row.state, {"hsfm.stage": row.stage})  # type: ignore[arg-type]
            ledger.set_tags(key, {"hsfm.stage": row.stage})
    return root


@pytest.fixture
def written(root: Path, no_data: None) -> tuple[str, ...]:
    """Arguments that name it."""
    return ("--grid", "smoke", "--out", str(root))


def test_all_scores_of_a_real_sweep_equal_those_of_scikit_learn_on_its_labels(
    run: Run, finished: tuple[str, ...], undisturbed: Path
) -> None:
    status, out, _ = run(*finished, "--json")
    assert status == 0
    cells = {cell["cell_id"]: cell for cell in json.loads(out)["cells"]}
    table = pq.read_table(undisturbed / "killed" / "report" / "results.parquet")
    finals = [one for one in table.to_pylist() if one["stage"] == "final"]
    assert len(finals) == 6
    for one in finals:
        counts = np.sum([unit["confusion"] for unit in one["units"]], axis=0)
        rows, columns = np.nonzero(counts)
        target, predicted = np.repeat(rows, counts[rows, columns]), np.repeat(columns, counts[rows, columns])
        scores = cells[one["cell_id"]]["scores"]
        assert set(scores) == set(REFERENCE)
        for name, function in REFERENCE.items():
            assert scores[name]["by_seed"][str(one["seed"])] == pytest.approx(function(target, predicted), abs=1e-12)


def test_the_table_is_by_strategy_with_spread_and_the_chosen_one_marked(run: Run, finished: tuple[str, ...]) -> None:
    status, out, _ = run(*finished, "--metric", "mcc", "--metric", "balanced_accuracy", "--by-class")
    assert status == 0
    assert "MCC" in out
    assert "±" in out
    assert sum(" *" in line.split("2/2")[0] for line in out.splitlines() if "2/2" in line) == 1
    assert "corn-notill" in out


def test_scores_by_block_come_with_an_interval_that_is_the_same_each_time(run: Run, finished: tuple[str, ...]) -> None:
    told = [json.loads(run(*finished, "--metric", "oa", "--by-unit", "--json")[1]) for _ in range(2)]
    assert told[0] == told[1]
    score = told[0]["cells"][0]["scores"]["oa"]
    low, high = score["interval"]
    assert low < score["mean"] < high
    assert len(score["by_unit"]) > 10
    assert "95% interval" in run(*finished, "--metric", "oa", "--by-unit")[1]


def test_a_metric_of_ones_own_is_scored_written_and_ranked_by(
    run: Run, written: tuple[str, ...], root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "worst_recall.py"
    file.write_text(
        "def score(confusion_KK, class_names):\n    return min(confusion_KK.diagonal() / confusion_KK.sum(1))\n"
    )
    status, out, error = run(*written, "--metric-file", str(file), "--metric", "mcc", "--write")
    assert (status, error) == (0, "")
    assert "4 scores were added to the runs, 0 were there" in out
    table = pq.read_table(root / "smoke" / "report" / "results.parquet")
    rows = {row["seed"]: row for row in table.to_pylist() if row["stage"] == "final"}
    assert [rows[seed]["test_worst_recall"] for seed in (0, 1)] == pytest.approx([0.6, 0.8])
    assert [row["test_worst_recall"] for row in table.to_pylist() if row["stage"] == "search"] == [None]
    with open_ledger(root / "smoke", "smoke", mode="read") as ledger:
        found = {row.key: row.metrics for row in run_rows(ledger)}
        again = results_table(run_rows(ledger))
    assert again.to_pylist() == table.to_pylist()
    assert found[f"{0:016x}"]["test/worst_recall"] == pytest.approx(0.6)
    assert "2 scores were added" not in run(*written, "--metric-file", str(file), "--write")[1]
    assert main(["report", *written, "--metric", "worst_recall", "--to", str(tmp_path / "report")]) == 0
    assert "test worst_recall by data set" in capsys.readouterr().out


def test_a_stored_score_is_never_changed(run: Run, written: tuple[str, ...], root: Path, tmp_path: Path) -> None:
    file = tmp_path / "my_score.py"
    file.write_text("def score(confusion_KK, class_names):\n    return 0.25\n")
    assert run(*written, "--metric-file", str(file), "--write")[0] == 0
    file.write_text("def score(confusion_KK, class_names):\n    return 0.75\n")
    status, _, error = run(*written, "--metric-file", str(file), "--metric", "fw_iou", "--write")
    assert status == 2
    assert "has test/my_score 0.25, but its confusion matrices give 0.75 now" in error
    with open_ledger(root / "smoke", "smoke", mode="read") as ledger:
        metrics = [row.metrics for row in run_rows(ledger) if row.stage == "final"]
    assert [one["test/my_score"] for one in metrics] == [0.25, 0.25]
    assert not any("test/fw_iou" in one for one in metrics)


def test_nothing_is_written_while_a_driver_is_at_work(run: Run, written: tuple[str, ...], root: Path) -> None:
    with open_ledger(root / "smoke", "smoke", mode="drive"):
        status, _, error = run(*written, "--metric", "mcc", "--write")
        assert status == 2
        assert "is driven by process" in error
        assert run(*written, "--metric", "mcc")[0] == 0


@pytest.mark.parametrize(
    ("name", "text", "words"),
    [
        ("my_score.py", "def score(confusion_KK, class_names):\n    return confusion_KK[99]\n", "IndexError"),
        ("my_score.py", "def score(confusion_KK, class_names):\n    return 'good'\n", "allowed: one number"),
        ("my_score.py", "SCORE = 1\n", "has no function score"),
        ("my_score.py", "def score(\n", "cannot be run: SyntaxError"),
        ("kappa.py", "def score(confusion_KK, class_names):\n    return 1.0\n", "rename the file"),
        ("My Score.py", "def score(confusion_KK, class_names):\n    return 1.0\n", "rename the file"),
        ("my_score.txt", "", "is not a Python file"),
    ],
)
def test_a_metric_file_that_is_wrong_is_told_in_a_line(
    run: Run, written: tuple[str, ...], tmp_path: Path, name: str, text: str, words: str
) -> None:
    (tmp_path / name).write_text(text)
    status, _, error = run(*written, "--metric-file", str(tmp_path / name))
    assert status == 2
    assert words in error
    assert "Traceback" not in error


def test_an_undefined_score_is_no_number_and_a_misspelt_one_is_answered(
    run: Run, written: tuple[str, ...], tmp_path: Path
) -> None:
    file = tmp_path / "never.py"
    file.write_text("def score(confusion_KK, class_names):\n    return float('nan')\n")
    cells = json.loads(run(*written, "--metric-file", str(file), "--json")[1])["cells"]
    (cell,) = [cell for cell in cells if cell["strategy"] == "in_domain/unet"]
    assert cell["scores"]["never"]["mean"] is None
    assert not cell["asked"]
    status, _, error = run(*written, "--metric", "weigted_f1")
    assert status == 2
    assert "Did you mean 'weighted_f1'" in error


def test_a_sweep_without_runs_is_refused(run: Run, tmp_path: Path) -> None:
    status, _, error = run("--grid", "smoke", "--out", str(tmp_path))
    assert status == 2
    assert "has no runs in" in error
