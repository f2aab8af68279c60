"""Kills, torn files, locked stores, second drivers: nothing is lost, nothing is doubled, nothing stays RUNNING."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import subprocess
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from ledger_reports import SWEEP, history, report_run, runs_by_key

from orchestrator.errors import LedgerError
from orchestrator.ledger.mlflow_store import MlflowStore
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.session import Ledger
from orchestrator.ledger.spool import Spool
from orchestrator.ledger.store import open_ledger

Drive = Callable[..., Ledger]
Child = Callable[[str, Path], "subprocess.Popen[str]"]

WRITE_FOR_EVER = """
sys.path.insert(0, "tests/support")
from ledger_reports import report_run
ledger.ensure_cell("c1", "a cell", {})
for number in range(10_000):
    report_run(ledger, number)
    print(number)
"""


def kill_writer_after(call: str, times: int) -> str:
    """Code that kills its process right after a call to MLflow has succeeded, before anything is noted of it."""
    return f"""
from orchestrator.ledger.mlflow_store import MlflowStore
real, left = MlflowStore.{call}, [{times}]
def fatal(self, *arguments, **options):
    result = real(self, *arguments, **options)
    left[0] -= 1
    if left[0] == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    return result
MlflowStore.{call} = fatal
"""


def assert_told_once(ledger: Ledger, numbers: range, epochs: int = 5) -> None:
    runs = runs_by_key(ledger)
    slots = ledger.cells()["c1"].slots
    assert {len(found) for found in runs.values()} == {1}
    for number in numbers:
        (run,) = runs[f"key{number}"]
        assert run.info.status == "FINISHED"
        assert slots[f"search/f0/{number}"].state == "finished"
        assert "hsfm.hyperparameters" in run.data.params
        expected = [(epoch, number + epoch / 10) for epoch in range(epochs)]
        assert history(ledger, run.info.run_id, "val/miou") == expected


@pytest.mark.parametrize(
    "fault", ["", kill_writer_after("create_run", 7), kill_writer_after("log", 9), kill_writer_after("set_status", 6)],
    ids=["any time", "after a create", "after a log", "after a status"],
)  # fmt: skip
def test_a_killed_driver_loses_and_doubles_nothing(fault: str, drive: Drive, child: Child, sweep_dir: Path) -> None:
    process = child(fault + WRITE_FOR_EVER, sweep_dir)
    assert process.stdout is not None
    reported = 0
    for line in process.stdout:
        reported = int(line) + 1
        if reported == 40 and not fault:
            process.kill()
    process.wait()
    assert process.returncode == -signal.SIGKILL
    ledger = drive()
    ledger.flush()
    assert_told_once(ledger, range(reported))
    ledger.reconcile()
    ledger.close()
    assert "RUNNING" not in {run.info.status for found in runs_by_key(ledger).values() for run in found}


def test_replaying_the_whole_spool_again_changes_nothing(drive: Drive, sweep_dir: Path) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        for number in range(3):
            report_run(ledger, number)
    kept = (sweep_dir / "spool/events.jsonl").read_bytes()
    assert kept.count(b"\n") > 20
    (sweep_dir / "spool/committed.json").unlink()
    with drive() as ledger:
        assert "events that MLflow had not been told" in ledger.reconcile()[0]
        assert_told_once(ledger, range(3))


def test_a_torn_last_line_is_dropped_and_the_rest_is_told(drive: Drive, sweep_dir: Path) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        ledger.flush()
        driving = ledger._driving
        assert driving is not None
        driving.writer.stop(5)
        report_run(ledger, 0)
        driving.spool.close()
        driving.lock.release()
        ledger._closed = True
    with (sweep_dir / "spool/events.jsonl").open("ab") as file:
        file.write(b'{"n":999,"t":17000')
    with (sweep_dir / "spool/run_ids.jsonl").open("ab") as file:
        file.write(b'["run","key')
    with drive() as ledger:
        report_run(ledger, 1)
        ledger.flush()
        assert_told_once(ledger, range(2))
    with drive() as ledger:
        assert_told_once(ledger, range(2))


def test_a_lost_spool_folder_makes_no_second_run_for_a_key(drive: Drive, sweep_dir: Path) -> None:
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0, end=False)
    for path in (sweep_dir / "spool").iterdir():
        path.unlink()
    with drive() as ledger:
        ledger.ensure_cell("c1", "a cell", {})
        report_run(ledger, 0)
        ledger.flush()
        assert {key: len(found) for key, found in runs_by_key(ledger).items()} == {"sweep": 1, "c1": 1, "key0": 1}


def test_a_second_driver_is_refused_with_the_name_of_the_first(
    drive: Drive, child: Child, sweep_dir: Path, tmp_path: Path
) -> None:
    process = child("print('open')\ntime.sleep(60)\n", sweep_dir)
    assert process.stdout is not None
    process.stdout.readline()
    told = rf"process {process.pid} on .* since 20.*take the sweep over"
    with pytest.raises(LedgerError, match=told):
        drive()
    with pytest.raises(LedgerError, match=told):  # another folder, the same store: the lease refuses, not the file lock
        drive(tmp_path / "elsewhere", tracking_uri=f"sqlite:///{sweep_dir}/mlflow.db")
    process.kill()
    process.wait()
    drive().close()  # the dead driver's lock and lease hold nobody up


@pytest.mark.parametrize(("age_s", "refused"), [(5, True), (3600, False)])
def test_a_driver_on_another_host_holds_the_sweep_while_its_heart_beats(
    age_s: int, refused: bool, drive: Drive, sweep_dir: Path
) -> None:
    from mlflow.tracking import MlflowClient

    ledger = drive()
    ledger.close()
    client = MlflowClient(tracking_uri=ledger.tracking_uri)
    (sweep_run,) = runs_by_key(ledger)["sweep"]
    driver = {"host": "node7", "pid": 4711, "since": "2026-01-01T00:00:00", "place": "another boot", "spool": "other"}
    client.log_param(sweep_run.info.run_id, "lease.2", json.dumps(driver))
    client.set_tag(sweep_run.info.run_id, "hsfm.heartbeat", str(int((time.time() - age_s) * 1000)))
    if refused:
        with pytest.raises(LedgerError, match="process 4711 on node7 since 2026-01-01"):
            drive()
    else:
        drive().close()


def test_two_drivers_in_one_process_are_refused_as_well(drive: Drive) -> None:
    with drive(), pytest.raises(LedgerError, match=f"process {os.getpid()}"):
        drive()


def test_after_a_take_over_the_older_driver_stops_writing(drive: Drive, child: Child, sweep_dir: Path) -> None:
    code = """
ledger.ensure_cell("c1", "a cell", {})
ledger.put_slot("c1", SlotRecord(slot="final/0", key="k0", state="finished"))
ledger.flush()
print("ready")
try:
    for number in range(600):
        ledger.set_cell("c1", tags={"hsfm.note": str(number)})
        time.sleep(0.1)
except LedgerError as error:
    print(error)
"""
    process = child(code, sweep_dir)
    assert process.stdout is not None
    process.stdout.readline()
    ledger = drive(take_over=True)
    assert f"taken over by process {os.getpid()}" in process.stdout.read()
    assert process.wait() == 0
    assert ledger.cells()["c1"].slots["final/0"].state == "finished"
    ledger.set_cell("c1", tags={"hsfm.note": "mine"})
    ledger.close()
    assert open_ledger(sweep_dir, SWEEP, mode="read").cells()["c1"].tags["hsfm.note"] == "mine"


def test_words_of_a_driver_that_was_replaced_elsewhere_are_set_aside(
    drive: Drive, sweep_dir: Path, tmp_path: Path
) -> None:
    uri = f"sqlite:///{sweep_dir}/mlflow.db"
    with drive() as ledger:  # lease 1
        ledger.ensure_cell("c1", "a cell", {})
        ledger.put_slot("c1", SlotRecord(slot="final/0", key="k0", attempt=1))
    late = Spool(sweep_dir / "spool")  # what lease 1 reported while MLflow was away
    late.lease = 1
    late.append([("cell_tags", {"role": "cell", "id": "c1", "tags": {"hsfm.note": "late"}})])
    late.close()
    with drive(tmp_path / "elsewhere", tracking_uri=uri) as other:  # lease 2
        other.put_slot("c1", SlotRecord(slot="final/0", key="k0", state="finished", attempt=2))
        other.set_cell("c1", tags={"hsfm.note": "newer"})
    with drive() as ledger:  # lease 3
        assert "1 events of an older driver were set aside" in ledger.reconcile()[0]
        cell = ledger.cells()["c1"]
    assert cell.tags["hsfm.note"] == "newer"
    assert cell.slots["final/0"].state == "finished"
    assert b"late" in (sweep_dir / "spool/refused.jsonl").read_bytes()


def test_reconcile_ends_what_a_killed_driver_left_running(drive: Drive, child: Child, sweep_dir: Path) -> None:
    code = """
sys.path.insert(0, "tests/support")
from ledger_reports import report_run
ledger.ensure_cell("c1", "a cell", {})
for number in range(3):
    report_run(ledger, number, end=False)
ledger.put_slot("c1", SlotRecord(slot="search/f0/1", key="key1", state="stopped", stop_reason="rung 1"))
ledger.flush()
os.kill(os.getpid(), signal.SIGKILL)
"""
    child(code, sweep_dir).wait()
    ledger = drive()
    words = ledger.reconcile()
    status = {
        key: (found[0].info.status, found[0].data.tags["hsfm.state"]) for key, found in runs_by_key(ledger).items()
    }
    assert status["key0"] == status["key2"] == ("KILLED", "interrupted")
    assert status["key1"] == ("KILLED", "stopped")
    assert status["c1"][0] == "KILLED"
    assert status["sweep"][0] == "RUNNING"
    assert len(words) == 4
    assert "run 'search 0' was left RUNNING; it is KILLED now (interrupted" in " ".join(words)

    ledger.ensure_cell("c1", "a cell", {})
    report_run(ledger, 0)
    ledger.flush()
    runs = runs_by_key(ledger)
    assert runs["key0"][0].info.status == "FINISHED"
    assert runs["key0"][0].data.tags["hsfm.stop_reason"] == ""
    assert runs["c1"][0].info.status == "RUNNING"
    assert ledger.reconcile() == []
    ledger.close()


def test_after_close_nothing_is_running_and_a_whole_cell_is_finished(drive: Drive) -> None:
    with drive() as ledger:
        for cell in ("c1", "c2"):
            ledger.ensure_cell(cell, cell, {})
        report_run(ledger, 0)
        ledger.put_slot("c2", SlotRecord(slot="search/f0/0", key="other"))
    status = {key: found[0].info.status for key, found in runs_by_key(ledger).items()}
    assert status == {"c1": "FINISHED", "c2": "KILLED", "key0": "FINISHED", "sweep": "KILLED"}
    with pytest.raises(LedgerError, match="closed"):
        ledger.set_cell("c1", state="done")


def test_a_locked_store_holds_nobody_up_and_loses_nothing(drive: Drive, sweep_dir: Path) -> None:
    ledger = drive()
    ledger.ensure_cell("c1", "a cell", {})
    ledger.flush()
    blocker = sqlite3.connect(sweep_dir / "mlflow.db", isolation_level=None, check_same_thread=False)
    blocker.execute("BEGIN IMMEDIATE")
    release = threading.Timer(4, lambda: blocker.execute("ROLLBACK"))
    release.start()
    began = time.monotonic()
    for number in range(5):
        report_run(ledger, number)
    assert time.monotonic() - began < 2
    with pytest.raises(LedgerError, match="has not taken .* safe in"):
        ledger.flush(0.5)
    assert ledger.cells()["c1"].slots["search/f0/4"].state == "finished"
    ledger.flush(30)
    assert_told_once(ledger, range(5))
    ledger.close()
    release.join()
    blocker.close()


def test_a_reader_follows_a_driver_that_writes(drive: Drive, child: Child, sweep_dir: Path) -> None:
    process = child(WRITE_FOR_EVER, sweep_dir)
    assert process.stdout is not None
    reader = open_ledger(sweep_dir, SWEEP, mode="read")
    seen = 0
    for _ in range(60):
        reported = int(process.stdout.readline())
        slots = reader.cells()["c1"].slots
        assert all(slots[f"search/f0/{number}"].state == "finished" for number in range(reported + 1))
        assert len(slots) >= seen
        seen = len(slots)
    process.kill()


def test_the_others_of_a_batch_are_not_lost_with_one_that_is_no_json(drive: Drive, sweep_dir: Path) -> None:
    ledger = drive()
    ledger.ensure_cell("c", "the cell", {})

    def report() -> None:
        with ledger.together():
            for number, no_json in enumerate((object(), {1, 2}, None)):
                ledger.put_slot("c", SlotRecord(slot=f"search/f0/{number}", key=f"{number}" * 16, state="finished"))
                ledger._append("cell_tags", ("cell", "c"), {"tags": {"hsfm.odd": no_json} if no_json else {}})

    with pytest.raises(LedgerError, match="cannot be written as JSON"):
        report()
    read = open_ledger(sweep_dir, SWEEP, mode="read").cells()["c"]
    assert sorted(read.slots) == ["search/f0/0", "search/f0/1", "search/f0/2"]


def test_the_next_driver_is_let_in_even_where_the_last_one_could_not_say_everything(
    drive: Drive, monkeypatch: pytest.MonkeyPatch
) -> None:
    ledger = drive()
    assert ledger._driving is not None

    def breaks() -> None:
        raise RuntimeError("the disk is gone")

    monkeypatch.setattr(ledger, "flush", lambda _: breaks())
    monkeypatch.setattr(ledger._driving.spool, "close", breaks)
    monkeypatch.setattr(MlflowStore, "close", lambda _: breaks())
    with pytest.raises(RuntimeError, match="the disk is gone"):
        ledger.close()
    monkeypatch.undo()
    assert drive().is_driving
