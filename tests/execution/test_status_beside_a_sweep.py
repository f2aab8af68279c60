"""`status` from another shell, again and again, while a real sweep runs: it answers, and changes nothing."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.execution import sweeps


def look(grid: Path, out: Path) -> dict[str, Any]:
    command = [sys.executable, "-m", "orchestrator.cli", "status", "--grid", str(grid), "--out", str(out), "--json"]
    asked = subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)
    assert asked.returncode == 0, asked.stderr
    assert asked.stderr == ""
    found: dict[str, Any] = json.loads(asked.stdout)
    return found


@pytest.mark.slow
def test_status_in_a_loop_beside_a_sweep_answers_every_time_and_changes_no_result(
    undisturbed: Path, tmp_path: Path
) -> None:
    grid = sweeps.write_grid(tmp_path)
    assert look(grid, tmp_path)["state"] == "not_started"
    process = sweeps.start(grid, tmp_path, "execution.groups=1")
    seen = []
    while process.poll() is None:
        seen.append(look(grid, tmp_path))
    assert process.returncode == 0, sweeps.finish(process)

    states = [one["state"] for one in seen]
    at_work = [one for one in seen if one["state"] == "running"]
    assert len(at_work) > 5, states
    assert {one["driver"]["process"] for one in at_work} == {process.pid}
    assert any(one["worker_groups"] == 1 for one in at_work)
    assert any(run["state"] == "running" for one in at_work for run in one["running"])
    assert any(one["left"]["finish"] for one in at_work)
    done = [one["totals"]["runs_done"] for one in seen]
    assert done == sorted(done), "what is done stays done"
    last = look(grid, tmp_path)
    assert (last["state"], last["totals"]["runs_done"], last["ledger"]["events_waiting"]) == ("finished", 18, 0)
    assert sweeps.results(tmp_path, "killed") == sweeps.results(undisturbed, "killed")
    assert set(sweeps.closed(tmp_path, "killed").values()) == {1}, "no run needed a second attempt"
