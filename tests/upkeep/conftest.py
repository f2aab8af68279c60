"""A small sweep in a real ledger, with the files that real runs leave; made once, copied for each test."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from orchestrator.api_plan import build_plan
from orchestrator.cli import main
from orchestrator.config import load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.execution.cell_state import SELECTION
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import Ledger, open_ledger
from orchestrator.plan.planned import PlannedCell

Run = Callable[..., tuple[int, str, str]]
REPOSITORY = Path(__file__).resolve().parents[2]
NAME = "tidy"
GRID = f"""name: {NAME}
strategies: [in_domain/svm_rbf, in_domain/spectral_cnn]
datasets: [indian_pines]
label_budgets: [0.1]
seeds: 3
search: {{trials: 2, round: 2}}
train: {{steps: 20, evaluations: 2, pixel_batch_size: 64}}
"""
DONE_TRIALS, DONE_FINALS = ("a" * 16, "b" * 16), ("c" * 16, "d" * 16, "e" * 16)
BEST = DONE_FINALS[1]
FORMER_FINAL = "f" * 16
"""A final of a winner that was superseded: the ledger's slots do not name it any more."""
OPEN_TRIALS, OPEN_FINALS = ("1" * 16, "2" * 16), ("3" * 16, "4" * 16)
FAR_KEY = "0123456789abcdef"
OLD_S = 40 * 24 * 3600


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with Indian Pines prepared."""
    folder = tmp_path_factory.mktemp("cache")
    prepare("indian_pines", DataLocations(data_root=None, cache=folder))
    return folder


@pytest.fixture(autouse=True)
def surroundings(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "OMP_NUM_THREADS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HSFM_CACHE", str(cache))
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


def _slot(ledger: Ledger, cell: PlannedCell, slot: str, key: str, state: str, score: float = 0.5) -> None:
    ledger.start_run(key, str(cell.cell_id), slot, 1, [slot], {"hsfm.stage": slot.split("/")[0]}, {})
    record = SlotRecord(slot=slot, key=key, state=state, scores={SELECTION: score})  # type: ignore[arg-type]
    ledger.put_slot(str(cell.cell_id), record)
    if state != "running":
        ledger.end_run(key, state)  # type: ignore[arg-type]


def _fill(ledger: Ledger, done: PlannedCell, half: PlannedCell) -> None:
    for cell in (done, half):
        ledger.ensure_cell(str(cell.cell_id), str(cell.cell), {"hsfm.strategy_name": cell.cell.strategy.name})
    for number, key in enumerate(DONE_TRIALS):
        _slot(ledger, done, f"search/f0/{number}", key, "finished")
    for seed, (key, score) in enumerate(zip(DONE_FINALS, (0.5, 0.9, 0.7), strict=True)):
        _slot(ledger, done, f"final/{seed}", key, "finished", score)
    ledger.start_run(FORMER_FINAL, str(done.cell_id), "final/0", 1, ["final/0"], {"hsfm.stage": "final"}, {})
    ledger.end_run(FORMER_FINAL, "finished")
    ledger.set_tags(FORMER_FINAL, {"hsfm.state": "superseded"})
    ledger.set_cell(str(done.cell_id), state="done", tags={"hsfm.model": BEST, "hsfm.model_slot": "final/1"})
    _slot(ledger, half, "search/f0/0", OPEN_TRIALS[0], "finished")
    _slot(ledger, half, "search/f0/1", OPEN_TRIALS[1], "running")
    for seed, (key, score) in enumerate(zip(OPEN_FINALS, (0.6, 0.4), strict=True)):
        _slot(ledger, half, f"final/{seed}", key, "finished", score)


def fill_storage(storage: Path) -> None:
    """What real runs leave, and what a kill leaves in addition."""
    for key in (*DONE_FINALS, FORMER_FINAL, *OPEN_FINALS, FAR_KEY):
        write(storage / key / "model" / "config.json", "{}")
        write(storage / key / "model" / "model.safetensors", "w" * 1000)
    for key in (DONE_TRIALS[0], OPEN_TRIALS[1], FAR_KEY):
        write(storage / key / "attempt-1" / "last.pt", "c" * 500)
    write(storage / OPEN_TRIALS[1] / "attempt-1" / "last.pt.part", "torn")
    age(storage / OPEN_TRIALS[1] / "attempt-1" / "last.pt.part")
    age(storage / FAR_KEY)


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)


def age(path: Path, seconds: float = OLD_S) -> None:
    """Make a file, or a folder and all that is in it, look old."""
    then = time.time() - seconds
    for one in [*path.rglob("*"), path] if path.is_dir() else [path]:
        os.utime(one, (then, then))


@pytest.fixture(scope="session")
def template(tmp_path_factory: pytest.TempPathFactory, cache: Path, empty_database: Path) -> Path:
    """A folder of sweeps with the grid file: one cell is done, one is half way; the driver has ended well."""
    root = tmp_path_factory.mktemp("sweeps")
    (root / "tidy.yaml").write_text(GRID)
    (root / NAME).mkdir()
    shutil.copy(empty_database, root / NAME / "mlflow.db")
    plan = build_plan(load_grid(str(root / "tidy.yaml")), DataLocations(data_root=None, cache=cache), root)
    with open_ledger(root / NAME, NAME, tracking_uri=f"sqlite:///{root / NAME / 'mlflow.db'}", mode="drive") as ledger:
        _fill(ledger, *plan.cells)
    fill_storage(root / NAME / "checkpoints")
    write(root / NAME / "ray" / "group-0-999999" / ".validate_storage_marker", "x" * 10)
    for key in (FORMER_FINAL, BEST):
        write(root / NAME / "logs" / f"{key}.log", "a line\n")
        age(root / NAME / "logs" / f"{key}.log")
    return root


@pytest.fixture
def root(template: Path, tmp_path: Path) -> Path:
    """The folder of sweeps, to be changed at will."""
    return shutil.copytree(template, tmp_path / "sweeps", symlinks=True)


@pytest.fixture
def sweep(root: Path) -> tuple[str, ...]:
    """Arguments that name the sweep."""
    return ("--grid", str(root / "tidy.yaml"), "--out", str(root))


DIES = """
import os, sys
from pathlib import Path
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import open_ledger
ledger = open_ledger(Path(sys.argv[1]), "tidy", mode="drive")
cell, = [c for c, r in ledger.cells().items() if any(s.state == "running" for s in r.slots.values())]
ledger.ensure_cell(cell, "the cell", {})
ledger.start_run("2" * 16, cell, "search/f0/1", 2, ["search/f0/1"], {}, {})
ledger.flush()
ledger._driving.writer.stop(5)
for step in range(3):
    ledger.log_metrics("2" * 16, step, {"val/miou": 0.1})
os._exit(9)
"""


@pytest.fixture(scope="session")
def killed_template(template: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The sweep after a driver that was killed: it holds the lease, a run is RUNNING, three events wait."""
    root = shutil.copytree(template, tmp_path_factory.mktemp("killed") / "sweeps", symlinks=True)
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"} | {"PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(
        [sys.executable, "-c", DIES, str(root / NAME)], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 9, done.stderr
    return root


@pytest.fixture
def killed_root(killed_template: Path, tmp_path: Path) -> Path:
    return shutil.copytree(killed_template, tmp_path / "killed_sweeps", symlinks=True)


@pytest.fixture
def killed(killed_root: Path) -> tuple[str, ...]:
    """Arguments that name the sweep of a killed driver."""
    return ("--grid", str(killed_root / "tidy.yaml"), "--out", str(killed_root))
