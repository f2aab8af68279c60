"""`reconcile`: what a killed driver left is put in order, and said."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

from mlflow.tracking import MlflowClient

from orchestrator.ledger.store import open_ledger
from tests.upkeep.conftest import NAME, Run


def statuses(root: Path) -> set[str]:
    with closing(sqlite3.connect(root / NAME / "mlflow.db")) as connection:
        return {row[0] for row in connection.execute("select status from runs")}


def test_events_are_told_and_runs_that_were_left_running_are_closed(
    run: Run, killed: tuple[str, ...], killed_root: Path
) -> None:
    assert "RUNNING" in statuses(killed_root)
    status, out, _ = run("reconcile", *killed)
    assert status == 0
    lines = out.splitlines()
    assert "is gone without letting go" in lines[0]
    assert "3 events that MLflow had not been told yet were found in the spool and told." in lines
    assert any("run 'search/f0/1' was left RUNNING; it is KILLED now (interrupted" in line for line in lines)
    assert any(line.startswith("cell ") and "was left RUNNING" in line for line in lines)
    assert "1 run is not finished" in lines[-1]
    assert "RUNNING" not in statuses(killed_root)
    client = MlflowClient(f"sqlite:///{killed_root / NAME / 'mlflow.db'}")
    experiment = client.get_experiment_by_name(NAME).experiment_id
    (one,) = client.search_runs([experiment], f"tags.`hsfm.key` = '{'2' * 16}'")
    assert len(client.get_metric_history(one.info.run_id, "val/miou")) == 3


def test_a_second_time_there_is_nothing_to_do_and_that_is_said(run: Run, killed: tuple[str, ...]) -> None:
    first = json.loads(run("reconcile", *killed, "--json")[1])
    assert (first["events_told"], first["open_slots"]) == (3, 1)
    assert first["runs_closed"] >= 3
    status, out, _ = run("reconcile", *killed)
    assert status == 0
    assert "nothing to do; no run was left RUNNING and the spool is empty" in out
    assert json.loads(run("reconcile", *killed, "--json")[1])["done"] == []


def test_a_living_driver_is_named_and_left_alone_unless_it_is_taken_over(
    run: Run, sweep: tuple[str, ...], root: Path
) -> None:
    driver = open_ledger(root / NAME, NAME, mode="drive")
    try:
        status, _, error = run("reconcile", *sweep)
        assert status == 2
        assert "is driven by process" in error
        assert driver.is_driving
        status, out, error = run("reconcile", *sweep, "--take-over")
        assert status == 0, error
        assert "was taken over from process" in out
    finally:
        driver._driving.writer.stop(5)  # type: ignore[union-attr]
        driver._driving.lock.release()  # type: ignore[union-attr]


def test_a_sweep_that_does_not_exist_is_told_and_nothing_is_made(run: Run, template: Path, tmp_path: Path) -> None:
    status, _, error = run("reconcile", "--grid", str(template / "tidy.yaml"), "--out", str(tmp_path / "none"))
    assert status == 2
    assert "there is no sweep 'tidy'" in error
    assert not (tmp_path / "none").exists()


def test_a_store_without_this_sweep_stays_as_it_is(run: Run, template: Path, tmp_path: Path) -> None:
    (tmp_path / "other" / "another").mkdir(parents=True)
    shutil.copy(template / NAME / "mlflow.db", tmp_path / "other" / "another" / "mlflow.db")
    before = sorted(path.name for path in (tmp_path / "other").rglob("*"))
    arguments = ("--grid", str(template / "tidy.yaml"), "--out", str(tmp_path / "other"), "name=another")
    assert run("reconcile", *arguments)[0] == 2
    assert sorted(path.name for path in (tmp_path / "other").rglob("*")) == before
