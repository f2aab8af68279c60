"""What `status` tells of a sweep in every state it can be in."""

from __future__ import annotations

import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import pytest
from planted_sweeps import Slots, Sweep, failed, finished, key_of, running, tree, whole_cell
from rich.console import Console

from orchestrator.cli import main
from orchestrator.cli.status_table import Detail, screen
from orchestrator.config import load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.ledger.store import open_ledger
from orchestrator.sweep_status import sweep_status

Data = Callable[..., dict[str, Any]]
Text = Callable[..., str]
Drive = Callable[[Mapping[int, Slots]], subprocess.Popen[str]]

SVM, CNN, UNET = range(3)


def cell(data: Mapping[str, Any], index: int) -> dict[str, Any]:
    found: dict[str, Any] = data["cells"][index]
    return found


# --- the states of a sweep -----------------------------------------------------------------------------------------


def test_a_sweep_that_was_never_started_says_how_to_start_it(sweep: Sweep, status: Text, status_data: Data) -> None:
    before = tree(sweep.root)
    data = status_data()
    assert data["state"] == "not_started"
    assert data["driver"] is data["started"] is None
    assert data["left"]["wall_s"] is None
    assert {one["state"] for one in data["cells"]} == {"missing"}
    assert f"start it: hsfm-sweep --grid {sweep.grid} --out {sweep.root} seeds=3" in status("seeds=3")
    assert tree(sweep.root) == before
    assert not sweep.folder.exists()


def test_a_finished_sweep_shows_its_scores_and_no_time_left(sweep: Sweep, status: Text, status_data: Data) -> None:
    sweep.put({index: whole_cell(0.4 + index / 10) for index in range(3)})
    data = status_data()
    assert data["state"] == "finished"
    assert data["driver"]["ending"] == "ended"
    assert data["totals"]["states"]["done"] == 3
    one = cell(data, CNN)
    assert (one["search_done"], one["final_done"], one["best_trial"]) == (4, 2, "search/f0/3")
    assert one["best_validation"] == pytest.approx(0.53)
    assert one["mean_test"] == pytest.approx(0.6)
    assert one["seconds"] == 60.0
    text = status()
    assert "no driver: all that can run is done" in text
    assert "left" not in text.splitlines()[-1]


def test_a_cell_that_is_not_done_shows_no_test_score(sweep: Sweep, status_data: Data) -> None:
    sweep.put({CNN: whole_cell()[:-1]})
    one = cell(status_data(), CNN)
    assert (one["state"], one["final_done"], one["mean_test"]) == ("partial", 1, None)


def test_a_stopped_trial_has_no_best_score(sweep: Sweep, status_data: Data) -> None:
    stopped = finished("search/f0/0", 0.9, step=30).with_(state="stopped")
    sweep.put({CNN: [stopped, finished("search/f0/1", 0.2)]})
    one = cell(status_data(), CNN)
    assert (one["best_trial"], one["best_validation"], one["search_done"]) == ("search/f0/1", 0.2, 2)


def test_a_driver_at_work_is_shown_with_its_runs_and_the_time_left(
    sweep: Sweep, drive: Drive, status: Text, status_data: Data
) -> None:
    sweep.log(key_of("search/f0/0"), "attempt 1 of search/f0/0", "step 15: val/miou 0.1", "step 45: val/miou 0.2")
    process = drive({SVM: whole_cell(), UNET: [running("search/f0/0", step=30), running("search/f0/1", attempt=0)]})
    data = status_data()
    assert data["state"] == "running"
    driver = data["driver"]
    assert (driver["at_work"], driver["process"], driver["ending"]) == (True, process.pid, None)
    assert driver["heartbeat_age_s"] < 30
    assert [one["state"] for one in data["cells"]] == ["done", "waiting", "running"]
    (run,) = data["running"]  # a trial that was only drawn is not under way
    assert (run["slot"], run["step"], run["steps"], run["state"]) == ("search/f0/0", 45, 60, "running")
    assert data["left"]["wall_s"] > 0
    assert data["left"]["groups"] == 1, "one run is under way"
    assert data["left"]["finish"] > data["time"]
    text = status()
    assert f"process {process.pid} on " in text
    assert "45/60  75%" in text
    assert "done at about" in text


def test_worker_groups_are_those_of_the_driver_at_work(sweep: Sweep, drive: Drive, status_data: Data) -> None:
    process = drive({SVM: [running("search/f0/0")]})
    for name in (f"group-0-{process.pid}", f"group-1-{process.pid}", "group-0-1", "driver-17"):
        (sweep.folder / "ray" / name).mkdir(parents=True)
    assert status_data()["worker_groups"] == 2


def test_a_trial_that_waits_for_its_round_is_told_apart(sweep: Sweep, drive: Drive, status: Text) -> None:
    drive({UNET: [running("search/f0/0", step=30), running("search/f0/1", step=0)]})
    lines = {line.split()[0]: line for line in status().splitlines() if line.lstrip().startswith("search/")}
    assert "waits for its round" in lines["search/f0/0"]
    assert "waits for its round" not in lines["search/f0/1"]


def test_runs_of_a_killed_driver_are_interrupted_not_running(
    sweep: Sweep, drive: Drive, status: Text, status_data: Data
) -> None:
    process = drive({SVM: whole_cell(), UNET: [running("search/f0/0"), running("search/f0/1", attempt=0)]})
    process.send_signal(signal.SIGKILL)
    process.wait()
    before = tree(sweep.folder)
    data = status_data()
    assert data["state"] == "interrupted"
    assert (data["driver"]["at_work"], data["driver"]["ending"]) == (False, "died")
    assert (cell(data, UNET)["state"], cell(data, UNET)["interrupted"], cell(data, UNET)["running"]) == (
        "interrupted",
        1,
        0,
    )
    assert data["left"]["finish"] is None, "nobody works, so there is no end in sight"
    text = status()
    assert "the last one was killed" in text
    assert f"go on: hsfm-sweep --grid {sweep.grid} --out {sweep.root}" in text
    after = tree(sweep.folder)
    assert {name for name in after if after[name] != before.get(name)} <= {"mlflow.db-shm"}, "SQLite's shared memory"


def test_looking_at_a_sweep_at_rest_leaves_its_folder_as_it_was(sweep: Sweep, status: Text) -> None:
    sweep.put({SVM: whole_cell()})
    before = tree(sweep.folder)
    status()
    status("--json")
    assert tree(sweep.folder) == before


def test_looking_from_the_drivers_own_process_does_not_give_its_lock_away(sweep: Sweep, status_data: Data) -> None:
    # POSIX drops a process's lock when it closes any descriptor of the file: a notebook may do just that.
    with open_ledger(sweep.folder, "planted", mode="drive"):
        assert status_data()["driver"]["process"] == os.getpid()
        code = "import sys; from pathlib import Path; from orchestrator.ledger.lock import is_locked; "
        code += "sys.exit(0 if is_locked(Path(sys.argv[1])) else 1)"
        assert subprocess.run([sys.executable, "-c", code, str(sweep.folder / "spool")], check=False).returncode == 0


def test_events_that_mlflow_was_not_told_are_counted_and_taken_into_account(
    sweep: Sweep, status: Text, status_data: Data
) -> None:
    sweep.put({SVM: whole_cell()[:2]})
    spool = sweep.folder / "spool"
    told = json.loads((spool / "committed.json").read_text())["number"]
    planned = sweep.plan.cells[SVM]
    event = {"role": "cell", "id": planned.cell_id, "tag": "hsfm.slot.search/f0/2", "closed": True}
    record = json.dumps(finished("search/f0/2", 0.9).to_json())
    line = {"n": told + 1, "t": 0, "lease": 1, "kind": "slot", "data": {**event, "record": record}}
    with (spool / "events.jsonl").open("a") as file:
        file.write(json.dumps(line, separators=(",", ":")) + "\n" + '{"n":99,"torn')
    data = status_data()
    assert data["ledger"]["events_waiting"] == 1
    assert cell(data, SVM)["best_validation"] == 0.9
    assert "1 event in the spool that MLflow was not told yet" in status()


# --- what does not fit the grid ------------------------------------------------------------------------------------


def test_cells_and_runs_that_the_grid_no_longer_asks_for_are_counted(
    sweep: Sweep, status: Text, status_data: Data
) -> None:
    sweep.put({SVM: whole_cell(), UNET: whole_cell()})
    changes = ("strategies=[in_domain/svm_rbf]", "seeds=1")
    data = status_data(*changes)
    assert data["not_in_grid"] == {"cells": 1, "runs_done": 6, "slots": 1}
    assert data["state"] == "finished"
    text = status(*changes)
    assert "1 cell with 6 finished runs in the ledger is not in this grid" in text
    assert "1 run in the ledger beyond this grid's trials and seeds" in text


def test_where_the_data_set_is_not_prepared_cells_are_matched_by_name(
    sweep: Sweep, status: Text, status_data: Data, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sweep.put({SVM: whole_cell(), UNET: whole_cell()[:3]})
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "another_cache"))
    data = status_data()
    assert [one["cell_id"] for one in data["cells"]] == [None] * 3
    assert [(one["state"], one["runs_done"], one["matched_by"]) for one in data["cells"]] == [
        ("done", 6, "name"),
        ("missing", 0, ""),
        ("partial", 3, "name"),
    ]
    assert data["not_in_grid"]["cells"] == 0
    assert "2 cells matched by name: the data set is not prepared here" in status()


# --- failures ------------------------------------------------------------------------------------------------------


@pytest.fixture
def broken(sweep: Sweep) -> Sweep:
    """A sweep with failures of three kinds."""
    shapes = "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x{n} and 12x16)"
    sweep.put(
        {
            SVM: [*whole_cell()[:5], failed("final/1", "storage", "OSError: [Errno 28] No space left on device")],
            CNN: [failed("search/f0/1", "run_error", shapes.format(n=7), "c" * 16), *whole_cell()[4:]],
            UNET: [
                failed("search/f0/0", "run_error", shapes.format(n=9) + "\nmore lines", "d" * 16),
                failed("search/f0/1", "out_of_memory", "MemoryError: out of memory"),
            ],
        }
    )
    sweep.log("c" * 16, *(f"line {n}" for n in range(20)))
    return sweep


def test_failures_are_grouped_by_cause_and_error_with_advice_and_the_end_of_a_log(
    broken: Sweep, status_data: Data
) -> None:
    groups = {group["cause"]: group for group in status_data("--log-lines", "3")["failures"]}
    assert {cause: group["count"] for cause, group in groups.items()} == {
        "run_error": 2,
        "storage": 1,
        "out_of_memory": 1,
    }
    group = groups["run_error"]
    assert group["error"] == "RuntimeError: mat1 and mat2 shapes cannot be multiplied (64x7 and 12x16)"
    assert len(group["cells"]) == 2
    assert [line[-7:] for line in group["log_lines"]] == ["line 17", "line 18", "line 19"]
    assert group["log"] == str(broken.folder / "logs" / f"{'c' * 16}.log")
    assert "doctor" in groups["storage"]["advice"]
    assert groups["storage"]["log_lines"] == [], "there is no log here"


def test_failures_name_the_retry_command_with_the_users_own_options(broken: Sweep, status: Text) -> None:
    text = status("--log-lines", "0", "train.steps=60")
    assert "failed: 2 runs in 2 cells, run error: RuntimeError: mat1 and mat2 shapes" in text
    assert f"try them again: hsfm-sweep retry --grid {broken.grid} --out {broken.root} train.steps=60" in text
    assert "line 19" not in text
    assert "line 19" in status()


def test_filters_choose_cells_by_name_and_state_and_leave_the_totals(
    broken: Sweep, status: Text, status_data: Data
) -> None:
    data = status_data("--cell", "UNET")
    assert [one["strategy"] for one in data["cells"]] == ["in_domain/unet"]
    assert sum(group["count"] for group in data["failures"]) == 2
    assert (data["cells_shown"], data["totals"]["cells"]) == (1, 3)
    assert [one["strategy"] for one in status_data("--state", "failed")["cells"]] == ["in_domain/svm_rbf"]
    assert "1 of 3 cells are shown" in status("--state", "failed")
    assert "0 of 3 cells are shown" in status("--cell", "no such cell")


# --- many cells ----------------------------------------------------------------------------------------------------


def test_many_cells_are_grouped_by_strategy_unless_all_are_asked_for(sweep: Sweep, status: Text) -> None:
    budgets = f"label_budgets={[round(0.1 + 0.01 * n, 2) for n in range(15)]}"
    text = status(budgets)
    assert "45 cells, grouped by strategy" in text
    assert text.count("in_domain/unet") == 1
    assert "15 missing" in text
    assert status(budgets, "--all").count("in_domain/unet") == 15


def test_on_a_small_screen_the_totals_stand_above_what_is_cut_off(broken: Sweep) -> None:
    locations = DataLocations(data_root=None, cache=broken.cache)
    found = sweep_status(load_grid(str(broken.grid)), locations, broken.root)
    out = Console(width=160, height=16, file=io.StringIO())
    out.print(screen(found, Detail(), out, "MLflow is away"))
    text = out.file.getvalue()  # type: ignore[attr-defined]
    assert text.startswith("MLflow is away")
    assert text.index("runs 7/18") < text.index("in_domain/svm_rbf") < text.index("try them again")


# --- watching ------------------------------------------------------------------------------------------------------


def test_watching_as_json_prints_one_document_a_line_and_ends_with_130(sweep: Sweep, drive: Drive) -> None:
    drive({SVM: whole_cell()})
    command = [sys.executable, "-m", "orchestrator.cli", "status", *sweep.arguments, "--watch", "--json"]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=Path(__file__).resolve().parents[2]
    )
    assert process.stdout is not None
    documents = [json.loads(process.stdout.readline()) for _ in range(2)]
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    assert process.returncode == 130
    assert "Traceback" not in errors
    assert [document["schema"] for document in documents] == [2, 2]
    assert documents[0]["time"] < documents[1]["time"]


# --- JSON ----------------------------------------------------------------------------------------------------------


def test_every_field_of_the_json_is_in_its_documentation(broken: Sweep, drive: Drive, status_data: Data) -> None:
    drive({CNN: [running("search/f0/2")]})
    documentation = (Path(__file__).resolve().parents[2] / "docs" / "json.md").read_text()
    section = documentation.split("## status")[1].split("\n## ")[0]

    def names(value: Any) -> set[str]:
        if isinstance(value, dict):
            return set(value) | {name for inner in value.values() for name in names(inner)}
        return {name for inner in value for name in names(inner)} if isinstance(value, list) else set()

    missing = sorted(name for name in names(status_data()) if f"`{name}`" not in section)
    assert missing == []


def test_a_server_that_does_not_answer_is_told_with_what_the_folder_knows_and_ends_with_2(
    sweep: Sweep, drive: Drive, capsys: pytest.CaptureFixture[str]
) -> None:
    drive({})
    began = time.time()
    assert main(["status", *sweep.arguments, "--tracking-uri", "http://127.0.0.1:9"]) == 2
    error = capsys.readouterr().err
    assert "does not answer" in error
    assert "Meanwhile a driver is at work on this machine" in error
    assert time.time() - began < 30
