"""How full the machine is: mixed cells on several worker groups, simulated, against the lower bound.

    python benchmarks/packing.py [--draws 5] [--check]

The real decisions (`SweepState`: rounds, rungs, shared stages, the order of the queue) meet runs that take simulated
time: no Ray, no training. Cells are drawn from a mixed grid (fits of a second, networks of minutes, own pretrainings
that several cells wait for), at least 4 a worker group. Each cell's true cost differs from its estimate, and each
trial's from its cell's, so the queue decides on estimates that are wrong, as in life.

Lower bound of the time of a sweep: the larger of its work shared out evenly over the groups and its longest chain of
segments that wait for each other (pretraining, rungs, rounds, final runs). The chain is simulated too, with a group for
every segment: results, and so all decisions, do not depend on the number of groups.

Then groups of several shapes share a machine: half of the networks train with two workers, and on machines with GPUs
scikit-learn and extractions hold none. The real `Placement` starts and ends groups; a start takes START_S. The bound is
the largest of CPU seconds over CPUs, GPU seconds over GPUs, and the longest chain.

--check exits 1 where the bound is below 0.9 of the time on the average of a row.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections import Counter, deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from itertools import count
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from orchestrator.config import ExecutionConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.datasets.registry import get_facts
from orchestrator.execution.segments import Segment
from orchestrator.execution.sweep_state import SweepState
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.cost import study_steps
from orchestrator.plan.facts import DatasetStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.placement import Held, Placement, Room
from orchestrator.plan.planned import Plan, PlannedCell
from orchestrator.plan.resources import groups_at_start
from orchestrator.plan.run_spec import content_hash
from orchestrator.plan.shapes import GroupShape, Shapes, shapes_for
from orchestrator.plan.stages import stage_id

WANTED = 0.9
SCENES = ("indian_pines", "salinas_a", "jasper_ridge")
CELL_SPREAD, TRIAL_SPREAD = 0.4, 0.2
"""Standard deviation of the logarithm of true over estimated time, by cell and by trial."""
PREFETCH = ExecutionConfig().prefetch
START_S = 8.0
"""What the start of a group in the middle of a sweep takes."""
LOOK_S = 0.5


@dataclass(frozen=True)
class Machine:
    """A row of the table: worker groups by their speed, and how many cells they get."""

    speeds: tuple[float, ...]
    cells: int

    @property
    def name(self) -> str:
        kind = "" if set(self.speeds) == {1.0} else f" of speeds {', '.join(f'{s:g}' for s in self.speeds)}"
        return f"{len(self.speeds)} groups{kind}"


MACHINES = (
    Machine((1.0,) * 2, 8),
    Machine((1.0,) * 4, 16),
    Machine((1.0, 1.0, 2.0, 4.0), 32),
    Machine((1.0,) * 8, 32),
    Machine((1.0,) * 8, 63),
    Machine((1.0,) * 15, 63),
)


@dataclass(frozen=True)
class SharedMachine:
    """A row of the second table: what groups of several shapes share, and how many cells they get."""

    cpus: int
    gpus: int
    cells: int

    @property
    def name(self) -> str:
        return f"{self.cpus} CPUs" + (f", {self.gpus} GPUs" if self.gpus else "")


SHARED_MACHINES = (
    SharedMachine(2, 0, 8),
    SharedMachine(4, 0, 16),
    SharedMachine(8, 0, 32),
    SharedMachine(15, 0, 63),
    SharedMachine(8, 4, 32),
    SharedMachine(16, 4, 32),
)


class NoJournal:
    """Decisions are not written anywhere."""

    def together(self) -> AbstractContextManager[object]:
        return nullcontext()

    def put_slot(self, cell_id: str, record: SlotRecord) -> None: ...
    def segment_started(self, planned: PlannedCell, segment: Segment, slots: Sequence[str]) -> None: ...
    def progressed(self, segment: Segment, points: Any) -> None: ...
    def noted(self, planned: PlannedCell, segment: Segment, text: str) -> None: ...
    def attempt_failed(self, planned: PlannedCell, segment: Segment, **told: str) -> None: ...
    def run_closed(self, planned: PlannedCell, record: SlotRecord, event: Any) -> None: ...
    def superseded(self, planned: PlannedCell, record: SlotRecord) -> None: ...
    def cell_closed(self, planned: PlannedCell, slots: Any) -> None: ...


def mixed_plan() -> Plan:
    """Cells of a second to a quarter of an hour, and three pretrainings."""
    pretrained = {"name": "cross_domain/spectral_mae", "source": "salinas_a", "pretrain_steps": 400}
    grid = GridConfig(
        strategies=[
            "in_domain/unet",
            "in_domain/svm_rbf",
            "in_domain/spectral_cnn",
            "in_domain/ssftt",
            {**pretrained, "pretrain_seeds": 2},
            {**pretrained, "mask_ratio": 0.5},
            {"name": "cross_modality/efficientnet_lite0", "regime": "full", "init": "random"},
        ],
        datasets=list(SCENES),
        label_budgets=[{"k_shot": 5}, 0.05, 0.1],
        seeds=5,
        search=SearchConfig(trials=8, round=4),
        train=TrainConfig(steps=400),
        controls=False,
    )
    known = {name: DatasetStatus(facts=get_facts(name), digest="0" * 16, files_present=True) for name in SCENES}
    return make_plan(grid, known, {}, {})


def in_pairs(cells: Sequence[PlannedCell]) -> list[PlannedCell]:
    """The cells with every other network, and every other pretraining, on two workers."""
    found: list[PlannedCell] = []
    networks = 0
    for cell in cells:
        networks += cell.kind == "network"
        is_pair = cell.kind == "network" and networks % 2
        found.append(replace(cell, train={**cell.train, "world_size": 2}) if is_pair else cell)
    return found


def drawn(plan: Plan, count: int, seed: int) -> list[PlannedCell]:
    """So many cells of the plan, with the shared stages that they wait for."""
    cells = random.Random(seed).sample(list(plan.cells), count)
    needed: set[str] = set()
    state = SweepState(cells, {}, search=plan.search, execution=ExecutionConfig(), journal=NoJournal())
    for cell in state.cells.values():
        for fold in cell.planned.folds_used:
            for number in (None, *cell.final_seeds(fold)):
                needed |= set(cell.needs(fold, number))
    stages = [one for one in plan.shared if one.template is not None and stage_id(one.template.key) in needed]
    return [*stages, *cells]


@dataclass
class Clock:
    """True seconds of every segment; a function of its run, so that every simulation sees the same."""

    plan: Plan
    seed: int
    done: dict[str, int] = field(default_factory=dict)

    def seconds(self, planned: PlannedCell, segment: Segment) -> float:
        """What the segment takes on a group of speed 1; called once a segment, in the order of a run's segments."""
        steps = int(planned.train["steps"])
        all_steps = study_steps(planned, self.plan.search) * len(planned.folds_used) + steps * planned.seeds
        if planned.stage != "final":
            all_steps = steps
        part = segment.until_step - self.done.get(segment.spec.key, 0)
        self.done[segment.spec.key] = segment.until_step
        wrong = CELL_SPREAD * self._normal(segment.cell_id) + TRIAL_SPREAD * self._normal(segment.spec.key)
        return planned.device_s * part / all_steps * math.exp(wrong)

    def _normal(self, name: str) -> float:
        return random.Random(f"{self.seed} {name}").gauss(0.0, 1.0)


def simulate(plan: Plan, cells: Sequence[PlannedCell], speeds: Sequence[float], seed: int) -> tuple[float, float]:
    """Run a sweep; when its last run ends, in seconds, and the work in it, in seconds of a group of speed 1."""
    state = SweepState(cells, {}, search=plan.search, execution=ExecutionConfig(), journal=NoJournal())
    clock = Clock(plan, seed)
    now = work = 0.0
    idle = [(-speed, number) for number, speed in enumerate(speeds)]  # the fastest takes the next segment
    heapq.heapify(idle)
    ahead: deque[Segment] = deque()
    running: list[tuple[float, int, float, Segment]] = []
    while True:
        while (segment := state.next_segment(limit=len(speeds) + PREFETCH)) is not None:
            ahead.append(segment)
        while ahead and idle:
            segment = ahead.popleft()
            minus_speed, number = heapq.heappop(idle)
            seconds = clock.seconds(state.cells[segment.cell_id].planned, segment)
            work += seconds
            heapq.heappush(running, (now + seconds / -minus_speed, number, seconds, segment))
        if not running:
            assert state.is_finished, "the sweep stands still"
            return now, work
        now, number, seconds, segment = heapq.heappop(running)
        heapq.heappush(idle, (-speeds[number], number))
        state.on_end(segment.lease_id, reached(plan, segment, seconds))


def simulate_shared(
    plan: Plan, cells: Sequence[PlannedCell], shapes: Shapes, room: Room, seed: int, start_s: float
) -> tuple[float, float, float]:
    """Run a sweep on groups of several shapes; its end in seconds, and the CPU and GPU seconds of its runs."""
    state = SweepState(cells, {}, search=plan.search, execution=ExecutionConfig(), journal=NoJournal())
    state.queue_by(shapes.of)
    clock, placement = Clock(plan, seed), Placement(room)
    groups: dict[str, _Group] = {}
    names = count()
    events: list[tuple[float, int, str, Segment | None]] = []
    order = count()
    waiting: dict[GroupShape, deque[Segment]] = {shape: deque() for shape in set(map(shapes.of, cells))}
    now = cpu_s = gpu_s = next_look = last = 0.0

    def start(shape: GroupShape, after_s: float) -> None:
        name = f"group-{next(names)}"
        groups[name] = _Group(shape, since=now)
        heapq.heappush(events, (now + after_s, next(order), name, None))

    for shape in groups_at_start(cells, shapes, room):
        start(shape, 0.0)
    while True:
        while True:
            busy = Counter(shapes.of(state.cells[one.cell_id].planned) for one in state.in_flight.values())
            held = Counter(one.shape for one in groups.values() if one.state != "leaving")
            full = [shape for shape, number in busy.items() if number >= held[shape] + PREFETCH]
            segment = state.next_segment(full=full)
            if segment is None:
                break
            waiting[shapes.of(state.cells[segment.cell_id].planned)].append(segment)
        for name, group in groups.items():
            if group.state == "idle" and waiting[group.shape]:
                segment = waiting[group.shape].popleft()
                planned = state.cells[segment.cell_id].planned
                seconds = clock.seconds(planned, segment)
                cpu_s += seconds * group.shape.all_cpus
                gpu_s += seconds * group.shape.all_gpus
                group.state, group.since = "busy", now
                heapq.heappush(events, (now + seconds, next(order), name, segment))
        if not state.in_flight:
            assert state.is_finished, "the sweep stands still"
            return last, cpu_s, gpu_s
        if now >= next_look:
            moves = placement.decide(
                now,
                [Held(name=n, shape=g.shape, state=g.state, for_s=now - g.since) for n, g in groups.items()],
                {shape: len(segments) for shape, segments in waiting.items()},
            )
            for name in moves.end:
                if groups[name].state == "idle":
                    del groups[name]
                else:
                    groups[name].state = "leaving"
            for shape in moves.start:
                start(shape, start_s)
            next_look = now + LOOK_S
        # where nobody waits, nothing is decided before the next event
        look = next_look if any(waiting.values()) else math.inf
        if not events or look < events[0][0]:
            assert not math.isinf(look), "the sweep stands still"
            now = look
            continue
        now, _, name, segment = heapq.heappop(events)
        group = groups[name]
        if group.state == "leaving":
            del groups[name]
        else:
            group.state, group.since = "idle", now
        if segment is not None:
            last = now
            state.on_end(segment.lease_id, reached(plan, segment, 1.0))


@dataclass
class _Group:
    shape: GroupShape
    since: float
    state: Any = "starting"


def reached(plan: Plan, segment: Segment, seconds: float) -> dict[str, Any]:
    """The end of a segment, with scores that depend on its run alone."""
    score = int(content_hash({"key": segment.spec.key, "step": segment.until_step}), 16) / 16**16
    scores = {f"val/best_{plan.search.metric}": score, "test/miou": score}
    return {"kind": "reached", "step": segment.until_step, "scores": scores, "seconds": seconds}


def measured_shared(plan: Plan, machine: SharedMachine, seed: int) -> tuple[float, float, float, float]:
    """CPU work, longest chain, time, and lower bound of the time: seconds."""
    cells = in_pairs(drawn(plan, machine.cells, seed))
    shapes = shapes_for(cells, ExecutionConfig(), machine.gpus)
    time_s, cpu_s, gpu_s = simulate_shared(plan, cells, shapes, Room(machine.cpus, machine.gpus), seed, START_S)
    chain_s, same_s, _ = simulate_shared(plan, cells, shapes, Room(10_000, 10_000), seed, 0.0)
    assert math.isclose(cpu_s, same_s), "the machine has changed a decision"
    bound_s = max(cpu_s / machine.cpus, gpu_s / machine.gpus if machine.gpus else 0.0, chain_s)
    return cpu_s, chain_s, time_s, bound_s


def measured(plan: Plan, machine: Machine, seed: int) -> tuple[float, float, float, float]:
    """Work, longest chain, time, and lower bound of the time: seconds."""
    cells = drawn(plan, machine.cells, seed)
    chain_s, work_s = simulate(plan, cells, [max(machine.speeds)] * 2000, seed)
    time_s, same_work_s = simulate(plan, cells, machine.speeds, seed)
    assert math.isclose(work_s, same_work_s), "the number of groups has changed a decision"
    return work_s, chain_s, time_s, max(work_s / sum(machine.speeds), chain_s)


def _print_row(name: str, cells: int, rows: Sequence[tuple[float, float, float, float]], use: str = "") -> float:
    """Means over the draws, and their worst; the mean share that is held against what is wanted."""
    work_s, chain_s, time_s, _ = (sum(column) / len(rows) for column in zip(*rows, strict=True))
    shares = [bound_s / took_s for _, _, took_s, bound_s in rows]
    mean = sum(shares) / len(shares)
    times = f"{work_s:8.0f} {chain_s:8.0f} {time_s:8.0f}"
    print(f"{name:36} {cells:5d} {times} {use:>5} {mean:10.3f} {min(shares):5.3f}", flush=True)
    return mean


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n", 1)[0])
    parser.add_argument("--draws", type=int, default=5, help="draws of cells and of true times for each row")
    parser.add_argument("--check", action="store_true", help=f"exit 1 where a row's mean is below {WANTED}")
    arguments = parser.parse_args()
    plan = mixed_plan()
    search = plan.search
    print(f"{arguments.draws} draws a row; rounds of {search.round}, rungs {search.rungs}, prefetch {PREFETCH}")
    columns = f"{'cells':>5} {'work s':>8} {'chain s':>8} {'time s':>8} {'use':>5} {'bound/time':>10} worst"
    print(f"{'worker groups':36} {columns}")
    shares = []
    for machine in MACHINES:
        rows = [measured(plan, machine, seed) for seed in range(arguments.draws)]
        use = sum(row[0] / row[2] for row in rows) / len(rows) / sum(machine.speeds)
        shares.append(_print_row(machine.name, machine.cells, rows, f"{use:.2f}"))
    print(f"{'shared by groups of several shapes':36} {columns.replace('work s', ' CPU s').replace('  use', '     ')}")
    for shared in SHARED_MACHINES:
        rows = [measured_shared(plan, shared, seed) for seed in range(arguments.draws)]
        shares.append(_print_row(shared.name, shared.cells, rows))
    is_bad = min(shares) < WANTED
    print(f"wanted: bound/time at least {WANTED} on the average of every row; {'NOT reached' if is_bad else 'reached'}")
    return 1 if arguments.check and is_bad else 0


if __name__ == "__main__":
    sys.exit(main())
