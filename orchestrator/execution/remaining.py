"""How long a sweep still takes: the one rule behind the live table and `status`. Pure.

A run is guessed from its strategy's own reference value; the guess is put right by the ratio of measured to guessed
seconds of the nearest kin that has finished runs: the same cell and stage, the cell, the strategy and stage, the
strategy, or the whole sweep. So what was measured counts as it is, and what was not is at least scaled to this machine.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.config import SearchConfig
from orchestrator.execution.tallies import STAGES, stage_of
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.choices import instantiate
from orchestrator.plan.cost import step_seconds, study_steps
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.slots import final_slots, fold_of_seed, search_slots

Kin = tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class StageWork:
    """One stage of one cell: what its finished runs took, and how many are to do."""

    cell: str
    strategy: str
    stage: str
    guess_s: float
    """Wall-clock seconds of one run by the strategy's reference value."""
    runs_timed: int
    taken_s: float
    """Measured wall-clock seconds of those runs together."""
    runs_left: float
    """Runs to do; one that is under way counts with what is left of it."""

    def kin(self) -> tuple[Kin, ...]:
        """Whose measurements may speak for it, the nearest first."""
        cell, strategy = ("cell", self.cell), ("strategy", self.strategy)
        return ((*cell, self.stage), cell, (*strategy, self.stage), strategy, ())


@dataclass(frozen=True, kw_only=True)
class Remaining:
    """What is left of a sweep."""

    cells_s: Mapping[str, float]
    """Run seconds left by cell, one worker group at work on it; cells with nothing to do have none."""
    longest_run_s: float

    @property
    def work_s(self) -> float:
        """Run seconds left over all cells."""
        return sum(self.cells_s.values())

    def wall_s(self, groups: int) -> float:
        """Wall-clock seconds left with so many worker groups; rungs and rounds can make it longer."""
        return max(self.work_s / max(1, groups), self.longest_run_s)


def remaining(works: Iterable[StageWork]) -> Remaining | None:
    """What is left; None while nothing was measured, which is no time to promise anything."""
    works = list(works)
    measured: dict[Kin, list[float]] = {}
    for work in works:
        for kin in work.kin() if work.runs_timed else ():
            sums = measured.setdefault(kin, [0.0, 0.0])
            sums[0] += work.taken_s
            sums[1] += work.guess_s * work.runs_timed
    if not measured and any(work.runs_left for work in works):
        return None
    cells_s: dict[str, float] = {}
    longest_s = 0.0
    for work in works:
        if work.runs_left <= 0:
            continue
        taken_s, guessed_s = next(measured[kin] for kin in work.kin() if kin in measured)
        run_s = work.guess_s * taken_s / guessed_s
        cells_s[work.cell] = cells_s.get(work.cell, 0.0) + run_s * work.runs_left
        longest_s = max(longest_s, run_s * min(1.0, work.runs_left))
    return Remaining(cells_s=cells_s, longest_run_s=longest_s)


def stage_works(
    planned: PlannedCell, search: SearchConfig, slots: Mapping[str, SlotRecord], steps: Mapping[str, int] | None = None
) -> list[StageWork]:
    """The search and the finals of a cell as work.

    Args:
        planned: the cell.
        search: the search settings.
        slots: its slots, as far as they are known.
        steps: newest optimiser step of runs under way, by slot, where it is known better than by the slot itself.
    """
    guesses = _guesses_s(planned, search)
    names = {"search": search_slots(planned), "final": _final_slots_with_a_winner(planned, slots)}
    timed: dict[str, dict[str, float]] = {stage: {} for stage in STAGES}
    for name, record in slots.items():
        if record.state in ("finished", "stopped") and record.seconds > 0 and stage_of(name) in timed:
            timed[stage_of(name)][record.key] = record.seconds  # two slots with one key were one training
    last = int(planned.train["steps"])
    return [
        StageWork(
            cell=str(planned.cell),
            strategy=planned.cell.strategy.name,
            stage=stage,
            guess_s=guesses[stage],
            runs_timed=len(timed[stage]),
            taken_s=sum(timed[stage].values()),
            runs_left=sum(_share_left(slots.get(name), (steps or {}).get(name, 0), last) for name in names[stage]),
        )
        for stage in STAGES
        if names[stage]
    ]


def _share_left(record: SlotRecord | None, step: int, last: int) -> float:
    if record is None:
        return 1.0
    return 0.0 if record.is_closed else 1.0 - min(1.0, max(record.reached_step, step) / max(1, last))


def _final_slots_with_a_winner(planned: PlannedCell, slots: Mapping[str, SlotRecord]) -> Sequence[str]:
    """Finals that can still run: where every trial of a fold failed there is nothing to repeat."""
    if not planned.trials or planned.candidates_id or not any(record.state == "failed" for record in slots.values()):
        return final_slots(planned)
    failed: dict[str, int] = {}
    for name, record in slots.items():
        if record.state == "failed" and stage_of(name) == "search":
            failed[name.split("/")[1]] = failed.get(name.split("/")[1], 0) + 1
    return [
        name
        for seed, name in enumerate(final_slots(planned))
        if failed.get(f"f{fold_of_seed(planned, seed)}", 0) < planned.trials
    ]


def _guesses_s(planned: PlannedCell, search: SearchConfig) -> dict[str, float]:
    """Wall-clock seconds of one run of each stage by the strategy's reference value."""
    if planned.stage != "final":
        return {"search": 1e-9, "final": max(planned.device_s, 1e-9)}
    reference_s = instantiate(planned.cell.strategy).reference_step_s
    step_s = step_seconds(planned, reference_s, {})[0] / int(planned.train["world_size"])
    trial_steps = study_steps(planned, search) / planned.trials if planned.trials else 0.0
    return {
        "search": max(step_s * trial_steps, 1e-9),
        "final": max(step_s * int(planned.train["steps"]), 1e-9),
    }
