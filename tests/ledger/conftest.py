from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_reports import SWEEP

from orchestrator.ledger.environment import SETTINGS
from orchestrator.ledger.session import Ledger
from orchestrator.ledger.store import open_ledger

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.fixture(autouse=True)
def no_outer_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture
def sweep_dir(tmp_path: Path, empty_database: Path) -> Path:
    folder = tmp_path / "sweep"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    return folder


@pytest.fixture
def drive(sweep_dir: Path) -> Iterator[Callable[..., Ledger]]:
    """Opens drivers and lets go of what a failed test left open."""
    opened: list[Ledger] = []

    def opener(folder: Path = sweep_dir, **options: object) -> Ledger:
        ledger = open_ledger(folder, SWEEP, mode="drive", **options)  # type: ignore[arg-type]
        opened.append(ledger)
        return ledger

    yield opener
    for ledger in opened:
        driving = ledger._driving
        if driving is not None:
            driving.writer.stop(5)
            driving.lock.release()


@pytest.fixture
def child() -> Iterator[Callable[[str, Path], subprocess.Popen[str]]]:
    """Starts a Python process that has `ledger`, a driver of the sweep in that folder, and runs some code."""
    started: list[subprocess.Popen[str]] = []
    prelude = (
        "import os, signal, sys, time\nfrom pathlib import Path\n"
        "from orchestrator.errors import LedgerError\n"
        "from orchestrator.ledger.records import SlotRecord\n"
        "from orchestrator.ledger.store import open_ledger\n"
        f"ledger = open_ledger(Path(sys.argv[1]), {SWEEP!r}, mode='drive')\n"
    )

    def starter(code: str, folder: Path) -> subprocess.Popen[str]:
        environment = {**os.environ, **SETTINGS, "PYTHONPATH": str(REPOSITORY), "PYTHONUNBUFFERED": "1"}
        command = [sys.executable, "-c", prelude + code, str(folder)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        started.append(process)
        return process

    yield starter
    for process in started:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()
