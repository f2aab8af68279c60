"""What is written is what is read: slots, cells, runs, params, tags, artifacts."""

from __future__ import annotations

import json
import math
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger_reports import SWEEP, history, report_run, runs_by_key

from orchestrator.errors import LedgerError
from orchestrator.ledger import limits
from orchestrator.ledger.mlflow_store import MlflowStore, StoreAwayError
from orchestrator.ledger.parents import cell_records, parents_from_sqlite
from orchestrator.ledger.queries import list_sweeps, run_rows
from orchestrator.ledger.reading import read_mlflow_tables
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.session import Ledger
from orchestrator.ledger.store import open_ledger

Drive = Callable[..., Ledger]


def test_a_slot_comes_back_as_it_was_put(drive: Drive, sweep_dir: Path) -> None:
    record = SlotRecord(
        slot="search/f2/11", key="ab", params={"lr": 1e-3, "depth": 3, "loss": "dice"}, state="stopped", attempt=3,
        reached_step=400, scores={"val/miou": 0.25, "val/oa": 0.5}, failures=1, seconds=12.5, stop_reason="rung 1: 0.2",
    )  # fmt: skip
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {"hsfm.strategy": "in_domain/unet"})
        ledger.put_slot("c1", record)
        assert ledger.cells()["c1"].slots == {"search/f2/11": record}  # at once, told or not
    again = open_ledger(sweep_dir, SWEEP, mode="read").cells()["c1"]
    assert again.slots == {"search/f2/11": record}
    assert again.tags["hsfm.strategy"] == "in_domain/unet"


def test_scores_that_are_no_numbers_come_back_and_the_tag_stays_valid_json() -> None:
    record = SlotRecord(slot="final/0", key="k", scores={"val/miou": math.nan, "val/oa": math.inf})
    _, text = limits.slot_tag(record)
    json.loads(text, parse_constant=lambda name: pytest.fail(f"{name} is no JSON"))
    scores = limits.slot_from_tag(text).scores
    assert math.isnan(scores["val/miou"])
    assert scores["val/oa"] == math.inf


@pytest.mark.parametrize("letter", ["x", '"', "\n", "é"])
def test_a_long_error_is_cut_so_that_the_slot_fits_into_a_tag(letter: str) -> None:
    record = SlotRecord(slot="final/0", key="k", state="failed", error=letter * 20_000, stop_reason=letter * 9_000)
    _, text = limits.slot_tag(record)
    assert len(text) <= limits.TAG_LENGTH
    assert "cut]" in limits.slot_from_tag(text).error


def test_run_ends_become_mlflow_states_and_tags(drive: Drive) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        for number in range(4):
            report_run(ledger, number, end=False)
        ledger.end_run("key0", "finished")
        ledger.end_run("key1", "stopped", {"hsfm.stop_reason": "rung 1"})
        ledger.end_run("key2", "failed", {"hsfm.error": "shape (3,) is not (4,)"})
        ledger.end_run("key3", "finished")
        ledger.end_run("key3", "superseded")
        ledger.flush()
        runs = {key: found[0] for key, found in runs_by_key(ledger).items()}
    assert [runs[f"key{n}"].info.status for n in range(4)] == ["FINISHED", "KILLED", "FAILED", "FINISHED"]
    assert [runs[f"key{n}"].data.tags["hsfm.state"] for n in range(4)] == [
        "finished",
        "stopped",
        "failed",
        "superseded",
    ]
    assert runs["key1"].data.tags["hsfm.stop_reason"] == "rung 1"
    assert runs["key2"].data.tags["hsfm.error"] == "shape (3,) is not (4,)"
    parent = runs["c1"].info.run_id
    assert {runs[f"key{n}"].data.tags["mlflow.parentRunId"] for n in range(4)} == {parent}


def test_a_changed_param_of_a_continued_run_loses_nothing(drive: Drive) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 1, end=False)
        ledger.flush()
        ledger.start_run("key1", "c1", "again", 2, ["search/f0/1"], {"hsfm.device": "cuda"}, {"lr": 99, "new": 1})
        ledger.log_metrics("key1", 50, {"val/miou": 0.9})
        ledger.flush()
        (run,) = runs_by_key(ledger)["key1"]
        assert ledger.problems == ()
    assert run.data.params["lr"] == "0.1"
    assert json.loads(run.data.params["hsfm.hyperparameters"]) == {"lr": 0.1, "train": {"steps": 100}}
    assert run.data.tags["hsfm.attempt"] == "2"
    assert run.data.tags["hsfm.device"] == "cuda"
    assert run.data.metrics["val/miou"] == 0.9


def test_more_metrics_and_tags_than_one_mlflow_call_takes_arrive(drive: Drive) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0, end=False, epochs=0)
        ledger.set_tags("key0", {f"t{n}": str(n) for n in range(250)})
        ledger.log_metrics("key0", 7, {f"test_iou/{n}": n for n in range(2300)})
        ledger.flush()
        (run,) = runs_by_key(ledger)["key0"]
    assert len(run.data.metrics) == 2300
    assert run.data.tags["t249"] == "249"


def test_a_not_a_number_loss_is_logged_once(drive: Drive) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0, end=False, epochs=0)
        for _ in range(2):
            ledger.log_metrics("key0", 1, {"train/loss": math.nan}, timestamp_ms=1_700_000_000_000)
        ledger.flush()
        (run,) = runs_by_key(ledger)["key0"]
        assert len(history(ledger, run.info.run_id, "train/loss")) == 1
    assert math.isnan(run.data.metrics["train/loss"])


def test_what_mlflow_would_refuse_is_refused_when_it_is_reported(drive: Drive) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0)
        with pytest.raises(LedgerError, match=r"metric name 'val/miou\[1\]'"):
            ledger.log_metrics("key0", 1, {"val/miou[1]": 0.5})
        with pytest.raises(LedgerError, match="allowed: a number"):
            ledger.log_metrics("key0", 1, {"val/miou": "high"})  # type: ignore[dict-item]
        with pytest.raises(LedgerError, match="at most 500 and 36"):
            ledger.log_input("key0", "pines", "d" * 64, "train")
        with pytest.raises(LedgerError, match="allowed: 6000"):
            ledger.start_run("key9", "c1", "n", 1, [], {}, {"bands": list(range(5000))})
        with pytest.raises(LedgerError, match="call start_run first"):
            ledger.log_metrics("unknown", 1, {"val/miou": 0.5})
        with pytest.raises(LedgerError, match="call ensure_cell first"):
            ledger.put_slot("c7", SlotRecord(slot="final/0", key="k"))


def test_an_event_that_mlflow_refuses_takes_no_other_with_it(drive: Drive, tmp_path: Path) -> None:
    artifact = tmp_path / "map.png"
    artifact.write_bytes(b"picture")
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        ledger.flush()
        driving = ledger._driving
        assert driving is not None
        driving.writer.stop(5)  # what follows is one batch of the next driver
        report_run(ledger, 0)
        ledger.log_file("key0", artifact)
        report_run(ledger, 1)
        artifact.unlink()
        driving.spool.close()
        driving.lock.release()
        ledger._closed = True
    with drive() as ledger:
        ledger.flush()
        assert "map.png is gone" in ledger.problems[0]
        runs = runs_by_key(ledger)
        assert runs["key0"][0].info.status == runs["key1"][0].info.status == "FINISHED"
        assert "map.png" in (ledger.location.spool_dir / "refused.jsonl").read_text()


def test_an_input_names_the_data_set_without_reading_it(drive: Drive) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0)
        ledger.log_input("key0", "indian_pines", "0123456789abcdef", "train-10pct")
        ledger.flush()
        (run,) = runs_by_key(ledger)["key0"]
    (used,) = run.inputs.dataset_inputs
    assert (used.dataset.name, used.dataset.digest) == ("indian_pines", "0123456789abcdef")
    assert used.tags[0].value == "train-10pct"


def test_rows_have_the_evaluation_of_finals_even_after_the_folder_was_moved(drive: Drive, sweep_dir: Path) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0)
        report_run(ledger, 1, stage="final")
        ledger.log_json("sweep", "summary.json", {"rows": 2})
        rows = run_rows(ledger)
    assert [(row.key, row.stage, row.state, row.slots) for row in rows] == [
        ("key0", "search", "finished", ("search/f0/0",)),
        ("key1", "final", "finished", ("final/1",)),
    ]
    assert rows[0].evaluation is None
    assert rows[1].evaluation == {"units": [{"name": "t", "confusion": [[1]]}]}
    assert rows[1].metrics["val/miou"] == 1.4
    moved = sweep_dir.rename(sweep_dir.with_name("moved"))
    assert run_rows(open_ledger(moved, SWEEP, mode="read")) == rows
    assert run_rows((f"sqlite:///{moved}/mlflow.db", SWEEP)) == rows
    assert [(sweep.name, sweep.sweep_dir) for sweep in list_sweeps(moved.parent)] == [(SWEEP, moved)]


def test_reading_the_database_directly_says_what_the_client_says(drive: Drive, sweep_dir: Path) -> None:
    with drive() as ledger:
        for cell in range(3):
            ledger.ensure_cell(f"c{cell}", f"cell {cell}", {"hsfm.dataset": "pines"})
        for number in range(5):
            report_run(ledger, number)
        ledger.flush()
        direct = parents_from_sqlite(sweep_dir / "mlflow.db", SWEEP)
        assert direct is not None
        assert cell_records(direct) == cell_records(ledger._parents_from_client())
        assert len(direct) == 3


def test_a_reader_sees_an_unchecked_schema_through_the_client(
    drive: Drive, sweep_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0)
    monkeypatch.setattr("orchestrator.ledger.reading.CHECKED_SCHEMAS", frozenset({"another"}))
    assert parents_from_sqlite(sweep_dir / "mlflow.db", SWEEP) is None
    assert open_ledger(sweep_dir, SWEEP, mode="read").cells()["c1"].slots["search/f0/0"].state == "finished"


def test_a_sweep_that_does_not_exist_is_empty_and_reading_it_creates_nothing(tmp_path: Path, sweep_dir: Path) -> None:
    ledger = open_ledger(tmp_path / "nowhere", SWEEP, mode="read")
    assert ledger.cells() == {}
    assert run_rows(ledger) == []
    assert ledger.experiment_id == ""
    assert not (tmp_path / "nowhere").exists()
    assert open_ledger(sweep_dir, "never run", mode="read").cells() == {}
    # SQLite's own files of a reader are the exception.
    assert {path.name for path in sweep_dir.iterdir()} - {"mlflow.db-wal", "mlflow.db-shm"} == {"mlflow.db"}


def test_reading_the_cells_does_not_import_mlflow(drive: Drive, sweep_dir: Path) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0)
    code = (
        "import sys; from pathlib import Path; from orchestrator.ledger.store import open_ledger\n"
        f"cells = open_ledger(Path({str(sweep_dir)!r}), {SWEEP!r}, mode='read').cells()\n"
        "print(cells['c1'].slots['search/f0/0'].state, 'mlflow' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["finished", "False"]


def test_a_reader_may_not_write(sweep_dir: Path) -> None:
    ledger = open_ledger(sweep_dir, SWEEP, mode="read")
    with pytest.raises(LedgerError, match="opened for reading"):
        ledger.ensure_cell("c1", "a cell", {})


def test_all_queries_of_one_answer_see_one_state_while_a_driver_writes(drive: Drive, sweep_dir: Path) -> None:
    ledger = drive()
    ledger.ensure_cell("c", "the cell", {})
    ledger.flush()

    def runs_before_and_after_a_write(connection: sqlite3.Connection) -> tuple[int, int]:
        ask = "select count(*) from runs"
        before = connection.execute(ask).fetchone()[0]
        ledger.start_run("a" * 16, "c", "search/f0/0", 1, ["search/f0/0"], {}, {})
        ledger.flush()
        return before, connection.execute(ask).fetchone()[0]

    before, after = read_mlflow_tables(sweep_dir / "mlflow.db", runs_before_and_after_a_write) or (0, 1)
    assert before == after == 2


def test_a_store_that_went_away_is_an_error_in_words_for_every_reader(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = drive()

    def is_away(*_: object, **__: object) -> None:
        raise StoreAwayError("connection refused")

    monkeypatch.setattr(MlflowStore, "search", is_away)
    with pytest.raises(LedgerError, match="cannot be read: connection refused"):
        ledger.search("tags.`hsfm.role` = 'run'")
