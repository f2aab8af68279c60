"""How well worker groups are used, given rounds and rungs: a small list-scheduling simulation."""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Iterable, Sequence

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
