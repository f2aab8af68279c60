"""Writes down every optimiser step and every checkpoint of the process that loads it, one line each.

Given as `--plugin`, so that worker processes load it. The strategy at its end is never part of a grid. The lines go to
the folder `steps` beside this file: they are what "repeated work" is counted from.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

from strategies.in_domain.spectral_cnn import SpectralCNN

FOLDER = Path(__file__).resolve().parent / "steps"


def _write(kind: str, key: str, attempt: int, rank: int, step: int) -> None:
    FOLDER.mkdir(exist_ok=True)
    line = f"{time.time():.3f} {kind} {key} {attempt} {rank} {step}\n"
    descriptor = os.open(FOLDER / f"{os.getpid()}.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        os.write(descriptor, line.encode())  # with the system at once: a killed process loses none
    finally:
        os.close(descriptor)


def _after_step(*_: Any) -> None:
    frame = sys._getframe(1)
    while frame is not None:
        run = frame.f_locals.get("self")
        if hasattr(run, "progress") and hasattr(run, "spec") and hasattr(run, "job"):
            _write("step", run.spec.key, int(run.job["attempt"]), run.seat.rank, run.progress.step + 1)
            return
        frame = frame.f_back


def _watch() -> None:
    from torch.optim.optimizer import register_optimizer_step_post_hook

    from orchestrator.execution import checkpoints

    register_optimizer_step_post_hook(_after_step)
    save = checkpoints.save

    def save_and_tell(storage: str, key: str, attempt: int, state: dict[str, Any]) -> None:
        save(storage, key, attempt, state)
        _write("saved", key, attempt, 0, int(state["step"]))

    checkpoints.save = save_and_tell


if "torch" in sys.modules:  # a worker; the command itself plans without torch
    _watch()

STRATEGY = SpectralCNN
