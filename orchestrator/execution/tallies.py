"""What a cell's slots say to a person: best trial, mean on test. Shared by the live table and `status`. Pure."""

from __future__ import annotations

import math
from collections.abc import Mapping
from statistics import fmean

from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.slots import final_slots

SELECTION = "selection"
"""Score under which a slot keeps the validation value that decides."""
STAGES = ("search", "final")
MODEL_TAG = "hsfm.model"
"""Tag of a cell's run: key of its best final run, once that is published as an MLflow model."""


def stage_of(slot: str) -> str:
    """`search`, or `final` for a cell's last runs and for the run of a shared stage."""
    return "search" if slot.startswith("search/") else "final"


def trial_order(slot: str) -> tuple[int, ...]:
    """A slot's fold and number: names in the order of their numbers, not of their letters."""
    return tuple(int(part.removeprefix("f")) for part in slot.split("/")[1:] if part.removeprefix("f").isdigit())


def best_trial(slots: Mapping[str, SlotRecord], metric: str) -> tuple[str, float] | None:
    """Slot and validation score of the best finished trial, the earlier one of two that are equal.

    A score at a rung cannot be compared with one at the end, so stopped trials do not count.
    """
    best: tuple[str, float] | None = None
    for name in sorted((name for name in slots if stage_of(name) == "search"), key=trial_order):
        record = slots[name]
        score = record.scores.get(SELECTION, record.scores.get(f"val/{metric}", math.nan))
        if record.state == "finished" and math.isfinite(score) and (best is None or score > best[1]):
            best = name, score
    return best


def mean_test(planned: PlannedCell, slots: Mapping[str, SlotRecord], metric: str) -> float | None:
    """Mean test score over all final seeds; None where one of them is not finished: half a cell has no mean."""
    name = f"test/{metric}"
    finals = [slots.get(slot) for slot in final_slots(planned)]
    scores = [
        record.scores[name] for record in finals if record and record.state == "finished" and name in record.scores
    ]
    return fmean(scores) if scores and len(scores) == len(finals) else None


def best_final(slots: Mapping[str, SlotRecord]) -> SlotRecord | None:
    """The finished final run with the best validation score (test decides nothing); ties and none: the lowest seed."""
    finals = [r for s, r in slots.items() if s.startswith("final/") and r.state == "finished"]
    return min(finals, key=lambda r: (-r.scores.get(SELECTION, -math.inf), int(r.slot.split("/")[1])), default=None)
