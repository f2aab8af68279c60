"""What the log of a run tells: its newest step and its last lines. Reads the end of the file only."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass
from pathlib import Path

TAIL_BYTES = 32 * 2**10
LINE_LENGTH = 300
_STEP = re.compile(r"^\S+ \S+ step (\d+): ", re.MULTILINE)


@dataclass(frozen=True)
class LogSight:
    """The newest report in a log."""

    step: int
    age_s: float | None
    """Seconds since anything was written; None where there is no log here."""


def last_lines(path: Path, count: int) -> tuple[str, ...]:
    """The last lines of a log, very long ones cut; none where the file is not there (another machine, or deleted)."""
    lines = [line for line in _tail(path).splitlines() if line.strip()]
    return tuple(line[:LINE_LENGTH] for line in lines[-count:]) if count > 0 else ()


def look_at_log(path: Path) -> LogSight:
    """The newest step that a run has reported."""
    found = _STEP.findall(_tail(path))
    try:
        age_s: float | None = max(0.0, time.time() - path.stat().st_mtime)
    except OSError:
        age_s = None
    return LogSight(int(found[-1]) if found else 0, age_s)


def _tail(path: Path) -> str:
    try:
        with path.open("rb") as file:
            size = file.seek(0, 2)
            file.seek(max(0, size - TAIL_BYTES))
            content = file.read(TAIL_BYTES)
    except OSError:
        return ""
    text = content.decode("utf-8", "replace")
    return text if size <= TAIL_BYTES else text.partition("\n")[2]
