"""A re-run of a finished sweep: it costs little while nothing has changed, and notices whatever has."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.instant_sweep import drive, grid_text

ROOT = Path(__file__).resolve().parents[2]
SAY_WHAT_WAS_IMPORTED = """
import sys
from orchestrator.cli.main import main
status = main(sys.argv[1:])
print("imported:", *sorted({"mlflow", "torch", "optuna", "ray"} & set(sys.modules)))
sys.exit(status)
"""


@pytest.fixture(scope="module")
def sweeps(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a finished sweep of 50 runs that took no time, run again once so that its report is made."""
    from orchestrator.datasets.locations import DataLocations
    from orchestrator.datasets.prepare import prepare

    folder = tmp_path_factory.mktemp("sweeps")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HSFM_CACHE", str(folder / "cache"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        prepare("indian_pines", DataLocations.from_environment())
        (folder / "instant.yaml").write_text(grid_text(50, "instant"))
        drive(folder / "instant.yaml", folder)
    assert "mlflow" in again(folder)
    return folder


def again(folder: Path, *overrides: str) -> str:
    """What the command prints, and which of the heavy packages it imported."""
    kept = {name: value for name, value in os.environ.items() if name != "MLFLOW_TRACKING_URI"}
    arguments = ["run", "--grid", str(folder / "instant.yaml"), "--out", str(folder), *overrides]
    done = subprocess.run(
        [sys.executable, "-c", SAY_WHAT_WAS_IMPORTED, *arguments],
        capture_output=True,
        text=True,
        cwd=ROOT,
        env={**kept, "HSFM_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def test_a_re_run_with_nothing_to_do_prints_the_comparison_and_opens_nothing(sweeps: Path) -> None:
    store = (sweeps / "instant" / "mlflow.db").stat().st_mtime_ns
    text = again(sweeps)
    assert "5 cells are finished; nothing was left to train" in text
    assert "unet" in text
    assert "test mIoU by data set" in text
    assert text.rstrip().endswith("imported:")
    assert (sweeps / "instant" / "mlflow.db").stat().st_mtime_ns == store


def test_a_changed_description_is_in_the_next_report(sweeps: Path) -> None:
    again(sweeps, "description=another one")
    assert "another one" in (sweeps / "instant" / "report" / "comparison.html").read_text()


def test_a_run_left_running_and_a_page_that_was_removed_are_put_in_order(sweeps: Path) -> None:
    page = sweeps / "instant" / "report" / "comparison.html"
    page.unlink()
    with sqlite3.connect(sweeps / "instant" / "mlflow.db") as connection:
        query = "select run_uuid from tags where key = 'hsfm.stage' and value = 'search' limit 1"
        run_id = connection.execute(query).fetchone()[0]
        connection.execute("update runs set status = 'RUNNING' where run_uuid = ?", (run_id,))
    assert "was left RUNNING" in again(sweeps)
    assert page.is_file()
    with sqlite3.connect(sweeps / "instant" / "mlflow.db") as connection:
        assert not connection.execute("select 1 from runs where status = 'RUNNING'").fetchall()
