"""How full the machine is: mixed cells on several worker groups, simulated, against the lower bound.

    python benchmarks/packing.py [--draws 5] [--check]

The real decisions (`SweepState`: rounds, rungs, shared stages, the order of the queue) meet runs that take simulated
time: no Ray, no training. Cells are drawn from a mixed grid (fits of a second, networks of minutes, own pretrainings
that several cells wait for), at least 4 a worker group. Each cell's true cost differs from its estimate, and each
trial's from its cell's, so the queue decides on estimates that are wrong, as in life.

Lower bound of the time of a sweep: the larger of its work shared out evenly over the groups and its longest chain of
segments that wait for each other (pretraining, rungs, rounds, final runs). The chain is simulated too, with a group for
every segment: results, and so all decisions, do not depend on the number of groups.

--check exits 1 where the bound is below 0.9 of the time on the average of a row.
"""

from __future__ import annotations

import argparse
import heapq
import math
import random
import sys
from collections import deque
from collections.abc import Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
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
from orchestrator.plan.planned import Plan, PlannedCell
from orchestrator.plan.run_spec import content_hash
from orchestrator.plan.stages import stage_id

WANTED = 0.9
SCENES = ("indian_pines", "salinas_a", "jasper_ridge")
CELL_SPREAD, TRIAL_SPREAD = 0.4, 0.2
"""Standard deviation of the logarithm of true over estimated time, by cell and by trial."""
PREFETCH = ExecutionConfig().prefetch


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
        score = int(content_hash({"key": segment.spec.key, "step": segment.until_step}), 16) / 16**16
        scores = {f"val/best_{plan.search.metric}": score, "test/miou": score}
        event = {"kind": "reached", "step": segment.until_step, "scores": scores, "seconds": seconds}
        state.on_end(segment.lease_id, event)


def measured(plan: Plan, machine: Machine, seed: int) -> tuple[float, float, float, float]:
    """Work, longest chain, time, and lower bound of the time: seconds."""
    cells = drawn(plan, machine.cells, seed)
    chain_s, work_s = simulate(plan, cells, [max(machine.speeds)] * 2000, seed)
    time_s, same_work_s = simulate(plan, cells, machine.speeds, seed)
    assert math.isclose(work_s, same_work_s), "the number of groups has changed a decision"
    return work_s, chain_s, time_s, max(work_s / sum(machine.speeds), chain_s)


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
    is_bad = False
    for machine in MACHINES:
        rows = [measured(plan, machine, seed) for seed in range(arguments.draws)]
        work_s, chain_s, time_s, _ = (sum(column) / len(rows) for column in zip(*rows, strict=True))
        use = sum(row[0] / row[2] for row in rows) / len(rows) / sum(machine.speeds)
        shares = [row[3] / row[2] for row in rows]
        mean = sum(shares) / len(shares)
        is_bad |= mean < WANTED
        print(
            f"{machine.name:36} {machine.cells:5d} {work_s:8.0f} {chain_s:8.0f} {time_s:8.0f} {use:5.2f} "
            f"{mean:10.3f} {min(shares):5.3f}"
        )
    print(f"wanted: bound/time at least {WANTED} on the average of every row; {'NOT reached' if is_bad else 'reached'}")
    return 1 if arguments.check and is_bad else 0


if __name__ == "__main__":
    sys.exit(main())
