"""Measured figures into a document, between its markers, with date, commit and machine."""

from __future__ import annotations

import os
import platform
import subprocess
from datetime import date
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"


def write_measured(document: Path, text: str) -> None:
    """Replace what stands between the markers of a document."""
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True, cwd=ROOT)
    where = f"{date.today()}, commit {commit.stdout.strip() or 'unknown'}, {os.cpu_count()} CPU cores, "
    where += f"{platform.system()}, Python {platform.python_version()}, load {os.getloadavg()[1]:.1f} before the end"
    before, _, rest = document.read_text().partition(BEGIN)
    after = rest.partition(END)[2]
    document.write_text(f"{before}{BEGIN}\nMeasured {where}.\n\n{text}\n{END}{after}")
