"""Somebody says how to go on, even where the driver cannot."""

from __future__ import annotations

import subprocess
import sys

INSIDE = """
import sys, time
from orchestrator.cli.last_words import last_words
with last_words():
    print("inside", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def start(seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", INSIDE, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


def test_a_killed_driver_is_spoken_for() -> None:
    process = start(60)
    assert process.stdout is not None
    process.stdout.readline()
    process.kill()
    _, said = process.communicate(timeout=20)
    assert f"process {process.pid}" in said
    assert "the same command goes on" in said


def test_a_driver_that_leaves_by_itself_is_not_spoken_for() -> None:
    process = start(0)
    _, said = process.communicate(timeout=20)
    assert process.returncode == 0
    assert said == ""
