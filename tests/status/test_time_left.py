"""The rule of the time left, on its own."""

from __future__ import annotations

from typing import Any

import pytest

from orchestrator.execution.remaining import StageWork, remaining


def work(cell: str = "a", stage: str = "search", **changes: Any) -> StageWork:
    given = {"strategy": cell, "guess_s": 1.0, "runs_timed": 0, "taken_s": 0.0, "runs_left": 0.0}
    return StageWork(cell=cell, stage=stage, **{**given, **changes})


def test_nothing_is_promised_before_anything_was_measured() -> None:
    assert remaining([work(runs_left=4)]) is None


def test_with_nothing_left_nothing_is_left() -> None:
    left = remaining([work()])
    assert left is not None
    assert left.wall_s(2) == 0


def test_measured_runs_of_the_same_cell_and_stage_count_as_they_are() -> None:
    left = remaining([work(runs_timed=2, taken_s=20, runs_left=3), work(stage="final", guess_s=2, runs_left=1)])
    assert left is not None
    # the finals were never run: guessed twice as long as a trial, and trials took ten times their guess
    assert left.cells_s["a"] == pytest.approx(3 * 10 + 20)


def test_a_new_cell_is_judged_by_its_strategy_before_the_whole_sweep() -> None:
    known = work("a", strategy="slow", runs_timed=1, taken_s=100)
    other = work("b", strategy="fast", runs_timed=1, taken_s=1)
    left = remaining([known, other, work("c", strategy="slow", runs_left=1), work("d", strategy="new", runs_left=1)])
    assert left is not None
    assert left.cells_s["c"] == pytest.approx(100)
    assert left.cells_s["d"] == pytest.approx(101 / 2)


def test_groups_share_the_work_but_no_run_is_shared() -> None:
    left = remaining([work(runs_timed=1, taken_s=60, runs_left=3)])
    assert left is not None
    assert left.wall_s(1) == 180
    assert left.wall_s(2) == 90
    assert left.wall_s(50) == 60
