"""Sweeps with a real ledger and planted slots: done, under way, failed in several ways, with their logs."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

from orchestrator.api_plan import build_plan
from orchestrator.config import load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import open_ledger
from orchestrator.plan.planned import Plan

GRID = """name: planted
strategies: [in_domain/svm_rbf, in_domain/spectral_cnn, in_domain/unet]
datasets: [indian_pines]
label_budgets: [0.1]
seeds: 2
search: {trials: 4, round: 4}
train: {steps: 60, evaluations: 4, patch_size: 16, batch_size: 4, pixel_batch_size: 64}
"""

DRIVER = """
import json, sys, time
from pathlib import Path
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import open_ledger
ledger = open_ledger(Path(sys.argv[1]), "planted", mode="drive")
for cell_id, name, slots in json.load(open(sys.argv[2])):
    ledger.ensure_cell(cell_id, name, {})
    for slot in slots:
        ledger.put_slot(cell_id, SlotRecord.from_json(slot))
ledger.flush()
print("ready", flush=True)
time.sleep(600)
"""

Slots = list[SlotRecord]


class Sweep:
    """A folder of sweeps with one sweep in it."""

    def __init__(self, root: Path, cache: Path, empty_store: Path) -> None:
        self.root, self.folder, self.cache, self._empty_store = root, root / "planted", cache, empty_store
        self.grid = root / "planted.yaml"
        self.grid.write_text(GRID)
        self.arguments = ("--grid", str(self.grid), "--out", str(root))

    @property
    def plan(self) -> Plan:
        return build_plan(load_grid(str(self.grid)), DataLocations(data_root=None, cache=self.cache), self.root)

    def _begin(self) -> None:
        """Making MLflow's tables takes seconds: take a copy of a store that has them."""
        if not self.folder.exists():
            self.folder.mkdir()
            shutil.copy(self._empty_store, self.folder / "mlflow.db")

    def put(self, slots: Mapping[int, Slots]) -> None:
        """Write slots of the cells by their place in the plan, as a driver that then ends."""
        self._begin()
        cells = self.plan.cells
        with open_ledger(self.folder, "planted", mode="drive") as ledger:
            for index, records in slots.items():
                cell_id = str(cells[index].cell_id)
                ledger.ensure_cell(cell_id, str(cells[index].cell), {})
                for record in records:
                    ledger.put_slot(cell_id, record)

    def drive(self, slots: Mapping[int, Slots]) -> subprocess.Popen[str]:
        """A driver in a process of its own that has written these slots and stays."""
        self._begin()
        cells = self.plan.cells
        data = [[cells[i].cell_id, str(cells[i].cell), [asdict(r) for r in some]] for i, some in slots.items()]
        (self.root / "slots.json").write_text(json.dumps(data))
        command = [sys.executable, "-c", DRIVER, str(self.folder), str(self.root / "slots.json")]
        environment = {**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])}
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process

    def log(self, key: str, *lines: str) -> Path:
        """The log of a run."""
        (self.folder / "logs").mkdir(parents=True, exist_ok=True)
        path = self.folder / "logs" / f"{key}.log"
        path.write_text("".join(f"2026-11-22 05:16:58 {line}\n" for line in lines))
        return path


def finished(slot: str, score: float = 0.5, *, seconds: float = 10.0, step: int = 60, **changes: Any) -> SlotRecord:
    """A finished slot; its key is made from its name."""
    scores = {"val/miou": score, "selection": score} | ({"test/miou": score} if slot.startswith("final") else {})
    return SlotRecord(slot=slot, key=key_of(slot), state="finished", scores=scores, seconds=seconds,
                      reached_step=step, **changes)  # fmt: skip


def failed(slot: str, cause: str, error: str, key: str = "") -> SlotRecord:
    """A failed slot."""
    return SlotRecord(slot=slot, key=key or key_of(slot), state="failed", cause=cause, error=error, failures=1)


def running(slot: str, *, step: int = 0, attempt: int = 1) -> SlotRecord:
    """A slot under way, or only drawn (attempt 0)."""
    return SlotRecord(slot=slot, key=key_of(slot), reached_step=step, attempt=attempt)


def key_of(slot: str) -> str:
    """Some key."""
    return slot.replace("/", "").ljust(16, "0")


def whole_cell(score: float = 0.5) -> Slots:
    """All six runs of a cell, finished."""
    trials = [finished(f"search/f0/{n}", score + 0.01 * n) for n in range(4)]
    return [*trials, finished("final/0", score), finished("final/1", score + 0.2)]


def tree(folder: Path) -> dict[str, tuple[int, int]]:
    """Every file below a folder with its size and time of change."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            found[str(path.relative_to(folder))] = (path.stat().st_size, path.stat().st_mtime_ns)
    return found
