"""How a sweep ended, and how a signal ends it: at the next checkpoints, resumable."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


@dataclass(frozen=True)
class Timing:
    """Where the wall-clock time of the part with Ray went."""

    start_s: float
    """Until the first run was handed to a worker group."""
    runs_s: float
    """From there to the end of the last run."""
    gaps_s: tuple[float, ...]
    """How long a worker group stood idle between two runs."""


@dataclass
class SweepOutcome:
    """How a sweep ended."""

    name: str
    folder: Path
    finished: int = 0
    failed: list[str] = field(default_factory=list)
    blocked: list[str] = field(default_factory=list)
    stop_reason: str = ""
    is_interrupted: bool = False
    started_ray: bool = False
    notes: list[str] = field(default_factory=list)
    timing: Timing | None = None
    """None where no run was started."""
    report: Path | None = None
    """The comparison as one HTML page."""

    @property
    def exit_code(self) -> int:
        """0 all done, 1 some failed or blocked (optional cells do not count), 130 interrupted."""
        if self.is_interrupted:
            return 130
        return 1 if self.failed or self.blocked or self.stop_reason else 0


def timing_of(condition: dict[str, Any], began: float) -> Timing | None:
    """Where the time went, from the hub's clocks; None where no run was started."""
    first, last = condition["first_lease_at"], condition["last_end_at"]
    return Timing(first - began, last - first, tuple(condition["gaps_s"])) if first and last else None


ENDING_SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)
"""SIGUSR1 is what a batch system sends ahead of its time limit (Slurm: `--signal=USR1@120`)."""


@contextmanager
def ending_on_signals(stop: Any, outcome: SweepOutcome) -> Iterator[None]:
    """SIGINT, SIGTERM and SIGUSR1 end the sweep within steps, its state checkpointed. A second one ends it at once."""

    def handle(number: int, frame: Any) -> None:  # noqa: ARG001
        if outcome.is_interrupted:
            raise KeyboardInterrupt
        outcome.is_interrupted = True
        threading.Thread(target=stop, args=(f"interrupted by {signal.Signals(number).name}",), daemon=True).start()

    if threading.current_thread() is not threading.main_thread():
        yield
        return
    former = {number: signal.signal(number, handle) for number in ENDING_SIGNALS}
    try:
        yield
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
