"""The state of a cell and the reason for it, from the ledger's slots and the status of its data and weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.plan.facts import DatasetStatus, WeightsStatus
from orchestrator.plan.planned import CellState, PlannedCell
from orchestrator.plan.slots import final_slots, search_slots

DONE_STATES = {"search": ("finished", "stopped"), "final": ("finished",)}


@dataclass(frozen=True, kw_only=True)
class Verdict:
    """What is done of a cell, what failed, and why it is in its state."""

    state: CellState
    reason: str
    remedy: str = ""
    done: int = 0
    failed: int = 0
    closed: Mapping[str, int]
    """Slots that need no further run, by stage."""


def judge(
    planned: PlannedCell,
    slots: Mapping[str, str],
    *,
    incompatible: str,
    dataset: DatasetStatus,
    weights: WeightsStatus | None,
) -> Verdict:
    """The state of a cell.

    A cell is done once all its finals are finished, blocked where it cannot start, failed where a final or every
    trial of a fold failed for good. A failed trial alone does not fail its cell.

    Args:
        planned: the cell, without a state yet.
        slots: state of each slot that the ledger knows.
        incompatible: why the strategy cannot take the data set; empty where it can.
        dataset: status of the data set.
        weights: status of the pretrained weights; None where none are used.
    """
    names = {"search": search_slots(planned), "final": final_slots(planned)}
    done = {stage: sum(slots.get(n) in DONE_STATES[stage] for n in names[stage]) for stage in names}
    failed = {stage: [n for n in names[stage] if slots.get(n) == "failed"] for stage in names}
    closed = {stage: done[stage] + len(failed[stage]) for stage in names}
    counts = {"done": sum(done.values()), "failed": sum(map(len, failed.values())), "closed": closed}
    total = sum(map(len, names.values()))
    if closed["search"] == len(names["search"]) and done["final"] == planned.seeds:
        lost = f", {len(failed['search'])} trials failed" if failed["search"] else ""
        return Verdict(state="done", reason=f"all {total} runs are in the ledger{lost}", **counts)
    reason, remedy = _blocked(incompatible, dataset, weights)
    if reason:
        return Verdict(state="blocked", reason=reason, remedy=remedy, **counts)
    hopeless = [
        fold for fold in planned.folds_used if planned.trials and _all_failed(planned.trials, fold, failed["search"])
    ]
    if failed["final"] or hopeless:
        which = ", ".join(failed["final"]) or f"all trials of fold {hopeless[0]}"
        return Verdict(state="failed", reason=f"{which} failed", remedy="see `hsfm-sweep status`", **counts)
    if counts["done"]:
        return Verdict(state="partial", reason=f"{counts['done']} of {total} runs are in the ledger", **counts)
    if slots:
        return Verdict(state="partial", reason="started, nothing finished yet", **counts)
    if dataset.digest is None:
        return Verdict(state="missing", reason="not run yet; the data set is prepared first", **counts)
    return Verdict(state="missing", reason="not run yet", **counts)


def _all_failed(trials: int, fold: int, failed: list[str]) -> bool:
    return sum(name.startswith(f"search/f{fold}/") for name in failed) == trials


def _blocked(incompatible: str, dataset: DatasetStatus, weights: WeightsStatus | None) -> tuple[str, str]:
    if incompatible:
        return incompatible, ""
    if dataset.digest is None and not dataset.files_present:
        reason = dataset.reason or f"the files of {dataset.facts.name} are not there"
        return reason, dataset.remedy
    if weights is not None and weights.sha256 is None:
        return weights.reason or f"the weights {weights.name} are not there", weights.remedy
    return "", ""
