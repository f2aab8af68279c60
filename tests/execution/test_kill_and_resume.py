"""Real kills of real sweeps: nothing finished is repeated, and the end is the one of an undisturbed sweep."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from tests.execution import sweeps

SWEEP = "killed"


@pytest.mark.parametrize("groups", [1, 2])
def test_a_sweep_whose_driver_was_killed_ends_like_an_undisturbed_one(
    groups: int, undisturbed: Path, tmp_path: Path
) -> None:
    grid = sweeps.write_grid(tmp_path)
    process = sweeps.start(grid, tmp_path, f"execution.groups={groups}")
    sweeps.wait_for_closed(process, tmp_path, SWEEP, 5)
    sweeps.kill_driver(process)
    before = sweeps.closed(tmp_path, SWEEP)
    assert 5 <= len(before) < 18

    sweeps.run(grid, tmp_path, f"execution.groups={groups}")

    after = sweeps.slots(tmp_path, SWEEP)
    assert {n: after[n].attempt for n in before} == before, "a finished run was repeated"
    assert sweeps.results(tmp_path, SWEEP) == sweeps.results(undisturbed, SWEEP)
    assert "RUNNING" not in sweeps.statuses(tmp_path, SWEEP)
    assert len({s.key for s in after.values()}) == 18


def test_the_same_command_again_starts_no_training_and_no_ray(undisturbed: Path) -> None:
    before = sweeps.results(undisturbed, SWEEP)
    log_files = {p: p.stat().st_mtime_ns for p in (undisturbed / SWEEP / "logs").iterdir()}
    process = sweeps.start(undisturbed / f"{SWEEP}.yaml", undisturbed, "execution.groups=1")
    text = sweeps.finish(process, 60)
    assert process.returncode == 0, text
    assert sweeps.results(undisturbed, SWEEP) == before
    assert {p: p.stat().st_mtime_ns for p in (undisturbed / SWEEP / "logs").iterdir()} == log_files
    assert len(list((undisturbed / SWEEP / "ray").glob("driver-*"))) == 1, "a Tuner was started"


def test_a_blocked_cell_makes_the_status_1_and_is_listed_with_what_mends_it(
    undisturbed: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.delenv("HSFM_DATA_ROOT", raising=False)
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path))
    process = sweeps.start(undisturbed / f"{SWEEP}.yaml", undisturbed, "datasets=[indian_pines,salinas_a]")
    text = sweeps.finish(process, 90)
    assert process.returncode == 1, text
    assert text.count("\nblocked: ") == 3, text
    assert "hsfm-sweep data fetch salinas_a" in text


def test_another_label_budget_runs_the_new_cells_only(tmp_path: Path) -> None:
    grid = sweeps.write_grid(tmp_path, steps=8)
    only = ("strategies=[in_domain/spectral_cnn]", "seeds=1", "search.trials=2", "execution.groups=1")
    sweeps.run(grid, tmp_path, *only)
    before = sweeps.slots(tmp_path, SWEEP)
    sweeps.run(grid, tmp_path, *only, "label_budgets=[0.1,0.3]")
    rows = sweeps.closed(tmp_path, SWEEP)
    cells = len(list((tmp_path / SWEEP / "checkpoints").iterdir()))
    assert cells == 2 * len(before)
    assert set(rows.values()) == {1}


def test_a_killed_ddp_worker_costs_no_result(tmp_path: Path) -> None:
    grid = sweeps.write_grid(tmp_path, world_size=2, steps=30)
    overrides = ("strategies=[in_domain/unet,in_domain/spectral_cnn]", "execution.groups=1")
    calm, shaken = tmp_path / "calm", tmp_path / "shaken"
    sweeps.run(grid, calm, *overrides)
    process = sweeps.start(grid, shaken, *overrides)
    sweeps.wait_for_closed(process, shaken, SWEEP, 2)
    pids = sweeps.worker_pids(process)
    assert len(pids) == 2
    os.kill(pids[-1], signal.SIGKILL)
    text = sweeps.finish(process)
    assert process.returncode == 0, text
    assert sweeps.results(shaken, SWEEP) == sweeps.results(calm, SWEEP)


def test_ctrl_c_ends_cleanly_and_resumably(tmp_path: Path) -> None:
    grid = sweeps.write_grid(tmp_path)
    process = sweeps.start(grid, tmp_path, "execution.groups=2")
    sweeps.wait_for_closed(process, tmp_path, SWEEP, 2)
    process.send_signal(signal.SIGINT)
    text = sweeps.finish(process, 90)
    assert process.returncode == 130, text
    assert "RUNNING" not in sweeps.statuses(tmp_path, SWEEP)
    assert not [s for s in sweeps.slots(tmp_path, SWEEP).values() if s.state == "failed"]
