"""How well worker groups are used, given rounds and rungs: a small list-scheduling simulation."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

from orchestrator.config import GridConfig
from orchestrator.plan import cost
from orchestrator.plan.planned import PlannedCell

Phase = tuple[int, float]
"""So many equal tasks, each of so many seconds; the next phase of a study starts when all of them are done."""


def simulate(studies: Iterable[Sequence[Phase]], groups: int) -> tuple[float, float]:
    """Makespan in seconds and used share (0..1) when `groups` groups work on studies of barriers.

    A free group takes the task that became ready first. Studies do not wait for each other.
    """
    work = 0.0
    ready: deque[tuple[int, float]] = deque()
    plans = [deque(phase for phase in phases if phase[0] > 0) for phases in studies]
    open_tasks = [0] * len(plans)

    def release(study: int) -> None:
        count, seconds = plans[study].popleft()
        open_tasks[study] = count
        ready.extend([(study, seconds)] * count)

    for study, phases in enumerate(plans):
        if phases:
            release(study)
    running: list[tuple[float, int]] = []
    now = 0.0
    while ready or running:
        while ready and len(running) < groups:
            study, seconds = ready.popleft()
            work += seconds
            heapq.heappush(running, (now + seconds, study))
        now, study = heapq.heappop(running)
        open_tasks[study] -= 1
        if not open_tasks[study] and plans[study]:
            release(study)
    return now, work / (groups * now) if now > 0 else 1.0


def expected_use(
    cells: Sequence[PlannedCell], grid: GridConfig, groups: int | None
) -> tuple[float | None, float | None]:
    """Wall-clock seconds left and expected use, from the cells that still have something to do."""
    to_do = [cell for cell in cells if cell.device_left_s > 0]
    if groups is None or groups < 1 or not to_do:
        return None, None
    studies = [phases for cell in to_do for phases in _phases(cell, grid)]
    return simulate(studies, groups)


def _phases(planned: PlannedCell, grid: GridConfig) -> list[list[Phase]]:
    """One list of barriers for each study: rung by rung, round by round, then its finals."""
    steps = int(planned.train["steps"])
    folds = len(planned.folds_used)
    all_steps = cost.study_steps(planned, grid.search) * folds + steps * planned.seeds
    # what is left of a started cell is taken as a smaller cell of the same shape
    step_s = planned.device_left_s / all_steps / int(planned.train["world_size"])
    phases: list[list[Phase]] = []
    for fold in range(folds):
        study: list[Phase] = [
            (count, step_count * step_s)
            for size in cost.rounds(planned.trials, grid.search)
            for count, step_count in cost.segments(planned, grid.search, size)
        ]
        finals = len([seed for seed in planned.final_seeds if seed % folds == fold])
        phases.append([*study, (finals, steps * step_s)])
    return phases
