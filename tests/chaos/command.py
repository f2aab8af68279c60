"""The sweep's command as a user gives it: started, started again, and what it printed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

TOKEN = "HSFM_CHAOS"
"""Environment variable that every process of a shaken sweep inherits: so orphans are known to be ours."""
NAME = "chaos"
PROBE = Path(__file__).parents[1] / "faults" / "plugins" / "step_probe.py"
GRID = """name: chaos
description: Three kinds of strategies in rounds, rungs and finals, to be killed at random.
strategies: [in_domain/svm_rbf, in_domain/spectral_cnn, in_domain/unet]
datasets: [indian_pines]
label_budgets: [0.1]
seeds: 3
search: {{trials: 8, round: 4}}
train:
  {{steps: {steps}, evaluations: 8, patch_size: 16, batch_size: 4, pixel_batch_size: 64, world_size: {world_size}}}
# More than three kills may fall on one run: being unlucky is no failure here.
execution: {{groups: {groups}, max_attempts: 50}}
"""


class Command:
    """`hsfm-sweep --grid G` in a folder of its own; its outputs go to one file a start."""

    def __init__(self, folder: Path, token: str, *, steps: int, world_size: int, groups: int) -> None:
        self.folder, self.token, self.world_size = folder, token, world_size
        self.grid, self.out, self.sweep = folder / f"{NAME}.yaml", folder, folder / NAME
        self.steps_folder, self.outputs = folder / "steps", folder / "output"
        self.probe = folder / PROBE.name
        self.process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.starts = 0
        self.statuses: list[int] = []
        self.outputs.mkdir(parents=True, exist_ok=True)
        self.grid.write_text(GRID.format(steps=steps, world_size=world_size, groups=groups))
        shutil.copy(PROBE, self.probe)

    def start(self) -> None:
        """Start the command, or start it again: the words are the same."""
        words = [sys.executable, "-m", "orchestrator.cli", "--grid", str(self.grid), "--out", str(self.out)]
        words += ["--plugin", str(self.probe)]
        kept = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
        environment = {**kept, TOKEN: self.token, "OMP_NUM_THREADS": "1", "COLUMNS": "400"}
        self.starts += 1
        with self.output_path().open("wb") as output:
            self.process = subprocess.Popen(
                words, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
        self.started_s = time.time()

    def status(self) -> int | None:
        """The exit status; None while it runs."""
        return self.process.poll() if self.process else None

    @property
    def pid(self) -> int:
        return self.process.pid if self.process else 0

    # ---- what it printed

    def output_path(self, number: int = 0) -> Path:
        return self.outputs / f"{number or self.starts}.log"

    def mark(self) -> tuple[int, int]:
        """A place in the output: what comes after it was printed later."""
        return self.starts, self.output_path().stat().st_size

    def said_after(self, mark: tuple[int, int]) -> list[str]:
        """Lines that the same start printed after a mark; none where that start never was."""
        number, offset = mark
        if not self.output_path(number).exists():
            return []
        with self.output_path(number).open("rb") as output:
            output.seek(offset)
            text = output.read().decode(errors="replace")
        return [line.rstrip() for line in text.splitlines() if line.strip()]
