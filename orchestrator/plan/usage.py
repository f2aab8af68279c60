"""How well worker groups are used, given stages, rounds and rungs: a small list-scheduling simulation. Pure."""

from __future__ import annotations

import heapq
import math
from collections import deque
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from orchestrator.config import GridConfig
from orchestrator.plan import cost
from orchestrator.plan.placement import TURN_S, Room
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.shapes import GroupShape, Shapes
from orchestrator.plan.slots import SEARCH_SEED, fold_of_seed
from orchestrator.plan.stages import stages_of


class Phase(NamedTuple):
    """Equal tasks; the next phase of a study starts when all of them are done."""

    tasks: int
    seconds: float
    """Wall-clock seconds of each."""
    after: frozenset[str] = frozenset()
    """Names of the studies that have to be over before it starts."""


@dataclass(frozen=True)
class Study:
    """Phases that follow each other, all on worker groups of one shape."""

    phases: Sequence[Phase]
    shape: GroupShape = GroupShape()
    name: str = ""
    """What others wait for; empty = nobody does."""


def simulate(studies: Iterable[Study], room: Room) -> tuple[float, float]:
    """Makespan in seconds and used share (0..1) when groups of the studies' shapes share a room.

    The task that became ready first and fits is taken; one that has not fitted for a turn is waited for. Starting
    groups, and ending them to start others, takes no time here.
    """
    return _Simulation(list(studies), room).run()


class _Simulation:
    def __init__(self, studies: list[Study], room: Room) -> None:
        self.studies, self.room, self.free, self.now = studies, room, room, 0.0
        self.plans = [deque(phase for phase in study.phases if phase.tasks > 0) for study in studies]
        self.open_tasks = [0] * len(studies)
        self.ready: dict[GroupShape, deque[tuple[float, int, int, float]]] = {}
        """By shape: since when, order, study, seconds."""
        self.running: list[tuple[float, int]] = []
        self.order = 0
        self.names = {study.name for study in studies if study.name}
        self.over: set[str] = set()
        self.waiting: list[int] = []

    def run(self) -> tuple[float, float]:
        work = 0.0
        for number in range(len(self.studies)):
            self._go_on(number)
        self._wake()
        while self.running or self.ready:
            work += self._start()
            if not self.running:
                break  # what is left fits no room at all
            self.now, number = heapq.heappop(self.running)
            self.free = self.free.plus(self.studies[number].shape)
            self.open_tasks[number] -= 1
            if not self.open_tasks[number]:
                self._go_on(number)
                self._wake()
        most = self._most()
        return self.now, work / (most * self.now) if self.now > 0 and most else 1.0

    def _go_on(self, number: int) -> None:
        """A study's phase is over (or it begins): its next one waits for its turn to be released."""
        if self.plans[number]:
            self.waiting.append(number)
        elif self.studies[number].name:
            self.over.add(self.studies[number].name)

    def _wake(self) -> None:
        """Release the phases that wait for nothing any more."""
        waiting, self.waiting = self.waiting, []
        for number in waiting:
            if (self.plans[number][0].after & self.names) - self.over:
                self.waiting.append(number)
                continue
            count, seconds, _ = self.plans[number].popleft()
            self.open_tasks[number] = count
            tasks = self.ready.setdefault(self.studies[number].shape, deque())
            for _ in range(count):
                self.order += 1
                tasks.append((self.now, self.order, number, seconds))

    def _start(self) -> float:
        """Start whatever fits; its work, in CPU or GPU seconds."""
        work = 0.0
        while self.ready:
            for shape in sorted(self.ready, key=lambda one: self.ready[one][0]):
                if self.free.holds(shape):
                    break
                if self.now - self.ready[shape][0][0] > TURN_S:
                    return work
            else:
                return work
            _, _, number, seconds = self.ready[shape].popleft()
            if not self.ready[shape]:
                del self.ready[shape]
            self.free = self.free.less(shape)
            heapq.heappush(self.running, (self.now + seconds, number))
            work += seconds * self._size(shape)
        return work

    def _size(self, shape: GroupShape) -> float:
        """What counts as used: GPUs where any study needs them, else CPUs."""
        has_gpus = any(study.shape.gpus for study in self.studies)
        return shape.all_gpus if has_gpus else float(shape.all_cpus)

    def _most(self) -> float:
        """What could be used at once at best."""
        shapes = {study.shape for study in self.studies}
        sizes = {shape: self._size(shape) for shape in shapes}
        room = self.room.gpus if any(shape.gpus for shape in shapes) else self.room.cpus
        if len(shapes) < 2 or math.isinf(room):
            counts = {shape: self.room.count(shape) for shape in shapes}
            return max((sizes[shape] * counts[shape] for shape in shapes), default=0.0)
        return min(room, self.room.groups * max(sizes.values()))


def expected_use(
    cells: Sequence[PlannedCell], stages: Sequence[PlannedCell], grid: GridConfig, shapes: Shapes, room: Room | None
) -> tuple[float | None, float | None]:
    """Wall-clock seconds left and expected use, from the cells and shared stages that still have something to do.

    Args:
        cells: the cells.
        stages: the stages that they share.
        grid: the grid.
        shapes: the shape of each of them.
        room: what worker groups may take together; None where that is not known.
    """
    to_do = [cell for cell in cells if cell.device_left_s > 0]
    left = {str(one.template.key): one for one in stages if one.device_left_s > 0 and one.template is not None}
    if room is None or not (to_do or left) or not any(room.count(shapes.of(one)) for one in (*to_do, *left.values())):
        return None, None
    studies = [_stage(key, one, shapes) for key, one in left.items()]
    for cell in to_do:
        studies += _studies(cell, grid, shapes.of(cell), left)
    return simulate(studies, room)


def _stage(key: str, planned: PlannedCell, shapes: Shapes) -> Study:
    shape = shapes.of(planned)
    after = frozenset(one.key for one in planned.stages)
    return Study([Phase(1, planned.device_left_s / int(planned.train.get("world_size", 1)), after)], shape, key)


def _studies(planned: PlannedCell, grid: GridConfig, shape: GroupShape, left: Mapping[str, PlannedCell]) -> list[Study]:
    """One list of barriers for each study: rung by rung, round by round, then its finals."""
    steps = int(planned.train["steps"])
    folds = len(planned.folds_used)
    all_steps = cost.study_steps(planned, grid.search) * folds + steps * planned.seeds
    # what is left of a started cell is taken as a smaller cell of the same shape
    step_s = planned.device_left_s / all_steps / int(planned.train["world_size"])
    found: list[Study] = []
    for fold in planned.folds_used:
        seeds = [seed for seed in planned.final_seeds if fold_of_seed(planned, seed) == fold]
        before, last = _needs(planned, fold, seeds, left)
        phases = [
            Phase(count, step_count * step_s, before)
            for size in cost.rounds(planned.trials, grid.search)
            for count, step_count in cost.segments(planned, grid.search, size)
        ]
        found.append(Study([*phases, Phase(len(seeds), steps * step_s, last)], shape))
    return found


def _needs(
    planned: PlannedCell, fold: int, seeds: Sequence[int], left: Mapping[str, PlannedCell]
) -> tuple[frozenset[str], frozenset[str]]:
    """Keys of the unfinished stages that a fold's trials, and its finals, wait for."""
    if planned.template is None or not left:
        return frozenset(), frozenset()
    trials = stages_of(planned, fold, SEARCH_SEED + fold, is_search=True) if planned.trials else ()
    finals = [one for seed in seeds for one in stages_of(planned, fold, seed, is_search=False)]
    return frozenset(one.key for one in trials) & left.keys(), frozenset(one.key for one in finals) & left.keys()
