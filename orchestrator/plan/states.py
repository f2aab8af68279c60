"""The state of a cell and the reason for it, from the ledger's slots and the status of its data and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plan.facts import DatasetStatus, WeightsStatus
from orchestrator.plan.planned import CellState, PlannedCell
from orchestrator.plan.slots import final_slots, search_slots

TRIAL_DONE = ("finished", "stopped")
FINAL_DONE = ("finished",)


@dataclass(frozen=True, kw_only=True)
class Tally:
    """A cell's slots, counted."""

    total: int
    search_done: int
    search_failed: int
    finals_done: int
    finals_failed: tuple[str, ...]
    hopeless_folds: tuple[int, ...]
    """Folds of which every trial failed, where a cell's own trials choose its hyperparameters."""

    @property
    def done(self) -> int:
        return self.search_done + self.finals_done

    @property
    def failed(self) -> int:
        return self.search_failed + len(self.finals_failed)

    @property
    def search_closed(self) -> int:
        """Trials that need no further run: a failed trial is told to the study as such."""
        return self.search_done + self.search_failed

    @property
    def finals_closed(self) -> int:
        return self.finals_done + len(self.finals_failed)


@dataclass(frozen=True)
class Verdict:
    """The state of a cell, why, and the command that mends it."""

    state: CellState
    reason: str
    remedy: str = ""


def tally(planned: PlannedCell, slots: Mapping[str, str]) -> Tally:
    """Count the slots that the ledger knows; slots beyond the grid's trials and seeds do not count."""
    searches, finals = search_slots(planned), final_slots(planned)
    failed = [name for name in searches if slots.get(name) == "failed"]
    hopeless = [
        fold
        for fold in planned.folds_used
        if planned.trials and sum(name.startswith(f"search/f{fold}/") for name in failed) == planned.trials
    ]
    return Tally(
        total=len(searches) + len(finals),
        search_done=sum(slots.get(name) in TRIAL_DONE for name in searches),
        search_failed=len(failed),
        finals_done=sum(slots.get(name) in FINAL_DONE for name in finals),
        finals_failed=tuple(name for name in finals if slots.get(name) == "failed"),
        hopeless_folds=() if planned.candidates_id else tuple(hopeless),
    )


def judge(
    counted: Tally,
    *,
    seeds: int,
    is_started: bool,
    incompatible: str,
    dataset: DatasetStatus,
    weights: WeightsStatus | None,
    stage: tuple[str, str] = ("", ""),
) -> Verdict:
    """The state of a cell.

    A cell is done once all its trials are closed and all its finals finished, blocked where it cannot start, failed
    where a final or every trial of a fold failed for good. A failed trial alone does not fail its cell.

    Args:
        counted: its slots, counted.
        seeds: final runs that it should have.
        is_started: whether the ledger knows any of its slots.
        incompatible: why the strategy cannot take the data set; empty where it can.
        dataset: status of the data set.
        weights: status of the pretrained weights; None where none are used.
        stage: why a stage that it builds on cannot run, and what mends that; empty where it can.
    """
    if counted.finals_done == seeds and counted.search_closed == counted.total - seeds:
        lost = f", {counted.search_failed} of them trials that failed" if counted.search_failed else ""
        return Verdict("done", f"all {counted.total} runs are in the ledger{lost}")
    blocked = _blocked(incompatible, dataset, weights) or (Verdict("blocked", *stage) if stage[0] else None)
    if blocked is not None:
        return blocked
    if counted.finals_failed or counted.hopeless_folds:
        trials = f"all trials of fold {counted.hopeless_folds[0]}" if counted.hopeless_folds else ""
        return Verdict(
            "failed", f"{', '.join(counted.finals_failed) or trials} failed", "see `hsfm-sweep status --grid NAME`"
        )
    if counted.done:
        return Verdict("partial", f"{counted.done} of {counted.total} runs are in the ledger")
    if is_started:
        return Verdict("partial", "started, nothing finished yet")
    later = " (the data set is prepared first)" if dataset.digest is None else ""
    return Verdict("missing", f"not run yet{later}")


def _blocked(incompatible: str, dataset: DatasetStatus, weights: WeightsStatus | None) -> Verdict | None:
    if incompatible:
        return Verdict("blocked", incompatible)
    if dataset.digest is None and not dataset.files_present:
        reason = dataset.reason or f"the files of {dataset.facts.name} are not there"
        return Verdict("blocked", reason, dataset.remedy)
    if weights is not None and weights.path is None:
        return Verdict("blocked", weights.reason or f"the weights {weights.name} are not there", weights.remedy)
    return None
