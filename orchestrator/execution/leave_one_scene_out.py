"""Leave one scene out, as it stands: what the trials on the other scenes choose for a cell. Never acts.

Every scene ranks the candidates by its validation scores, and the best mean rank wins: scores of scenes cannot be
averaged (one saturates where another spreads over 30 points and would decide alone). Data sets of one place share one
vote. A candidate counts where every scene that is used has scored it; ties go to the lower trial number. So the
choice is a function of closed trials alone, whatever finished first.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fractions import Fraction
from statistics import fmean
from typing import Any, Literal

from orchestrator.execution.cell_state import CellState, search_slot
from orchestrator.execution.stages import Stages
from orchestrator.execution.tallies import SELECTION
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.plan.planned import Chooser
from orchestrator.plan.run_spec import canonical
from orchestrator.plan.selection import LEAVE_ONE_SCENE_OUT

CHOICE_TAG = "hsfm.chosen"
"""Tag of a cell's run: the choice of its hyperparameters, in JSON."""
LONGEST = 7500
"""Characters of a record that MLflow keeps whole."""

Standing = Literal["open", "later", "complete", "none"]
"""Of the trials of a cell that chooses: under way; to do, but not by this start; all closed with a score; no use."""


@dataclass(frozen=True, kw_only=True)
class Choice:
    """The candidate that other scenes have chosen for a cell, with the scores that they had."""

    trial: int
    params: Mapping[str, Any]
    scores: Mapping[str, Sequence[float | None]]
    """By data set that was used: validation score of each candidate, None where it has none there."""
    mean_ranks: Sequence[float | None]
    """Of each candidate, over the scenes; None where one of them has not scored it."""

    def to_text(self) -> str:
        """The record of the choice; of very many candidates only the winner's scores are kept."""
        record: dict[str, Any] = {
            "selection": LEAVE_ONE_SCENE_OUT,
            "scenes": list(self.scores),
            "trial": self.trial,
            "params": canonical(self.params),
            "mean_ranks": list(self.mean_ranks),
            "scores": {name: list(values) for name, values in self.scores.items()},
        }
        text = json.dumps(record, sort_keys=True)
        if len(text) <= LONGEST:
            return text
        record["mean_ranks"] = [self.mean_ranks[self.trial]]
        record["scores"] = {name: [values[self.trial]] for name, values in self.scores.items()}
        return json.dumps(record, sort_keys=True)

    @classmethod
    def from_text(cls, text: str) -> Choice | None:
        """What `to_text` wrote; None where there is no such text."""
        try:
            data = json.loads(text)
            values = {name: data[name] for name in ("trial", "params", "scores", "mean_ranks")}
        except (ValueError, KeyError, TypeError):
            return None
        return cls(**values)


class SceneChoices:
    """The cells of a sweep that choose for each other."""

    def __init__(
        self, cells: Mapping[str, CellState], stages: Stages, records: Mapping[str, CellRecord], round_size: int
    ) -> None:
        """`cells` of this start, by id, are looked at, never changed; `records` may know others."""
        self._cells, self._stages, self._records, self._round = cells, stages, records, round_size

    def is_waited_for(self, state: CellState) -> bool:
        """Whether a trial that helps to choose for a cell may still end in this start."""
        return any(self._standing(one, state.planned.trials) == "open" for one in state.planned.choosers)

    def choice(self, state: CellState) -> Choice | None:
        """What the other scenes have chosen for a cell; None while they have not, and where they cannot."""
        trials = state.planned.trials
        standing = {one.dataset: self._standing(one, trials) for one in state.planned.choosers}
        if {"open", "later"} & set(standing.values()):
            return None
        recorded = self.recorded(state)
        gone = {one.dataset for one in state.planned.choosers if one.blocked and standing[one.dataset] == "none"}
        if recorded is not None and gone & set(recorded.scores):
            return recorded  # data that went away do not undo what they have decided
        used = [one for one in state.planned.choosers if standing[one.dataset] == "complete"]
        return choose(used, [self._slots(one) for one in used], trials) if used else None

    def recorded(self, state: CellState) -> Choice | None:
        """The choice that the ledger held when this start began."""
        known = self._records.get(state.cell_id)
        return Choice.from_text(known.tags.get(CHOICE_TAG, "")) if known else None

    def problem(self, state: CellState) -> str:
        """Why nothing was chosen for a cell, in words; empty where something was, or may still be."""
        if not state.planned.choosers or self.is_waited_for(state) or self.choice(state) is not None:
            return ""
        standing = {one.dataset: self._standing(one, state.planned.trials) for one in state.planned.choosers}
        later = [name for name, how in standing.items() if how == "later"]
        if later:
            return f"its hyperparameters are chosen on {', '.join(later)}, where trials are to do: run the whole sweep"
        names = ", ".join(standing)
        return f"no hyperparameters could be chosen for it: no candidate has a score on every scene ({names})"

    def _slots(self, one: Chooser) -> Mapping[str, SlotRecord]:
        cell = self._cells.get(one.cell_id or "")
        if cell is not None:
            return cell.slots
        record = self._records.get(one.cell_id or "")
        return record.slots if record else {}

    def _standing(self, one: Chooser, trials: int) -> Standing:
        cell = self._cells.get(one.cell_id or "")
        if cell is not None:
            if any(cell.open_round(fold, self._round) is not None for fold in one.folds):
                return "none" if self._stages.hold_up_trials(cell) else "open"
        elif not one.blocked and not _are_closed(one, self._slots(one), trials):
            return "later"
        return "complete" if scores_of(one, self._slots(one), trials) else "none"


def scores_of(one: Chooser, slots: Mapping[str, SlotRecord], trials: int) -> dict[int, float]:
    """Validation score of each trial that has finished on all folds of a cell, their mean."""
    found = {}
    for number in range(trials):
        records = [slots.get(search_slot(fold, number)) for fold in one.folds]
        scores = [r.scores[SELECTION] for r in records if r and r.state == "finished" and SELECTION in r.scores]
        if len(scores) == len(records):
            found[number] = fmean(scores)
    return found


def choose(used: Sequence[Chooser], slots: Sequence[Mapping[str, SlotRecord]], trials: int) -> Choice | None:
    """The candidate with the best mean rank over the places of some cells; None where no candidate has one.

    Args:
        used: the cells, at least one.
        slots: those of each.
        trials: number of candidates.
    """
    scores = [scores_of(one, own, trials) for one, own in zip(used, slots, strict=True)]
    params = [
        {number: canonical(own[search_slot(one.folds[0], number)].params) for number in scored}
        for one, own, scored in zip(used, slots, scores, strict=True)
    ]
    # a library of another version may have drawn another candidate on a scene that came later
    whole = [n for n in range(trials) if all(n in own and own[n] == params[0][n] for own in params)]
    if not whole:
        return None
    of_places: dict[str, list[dict[int, Fraction]]] = {}
    for one, scored in zip(used, scores, strict=True):
        of_places.setdefault(one.place, []).append(_ranks({n: scored[n] for n in whole}))
    votes = [{n: _mean([ranks[n] for ranks in own]) for n in whole} for own in of_places.values()]
    means = {n: _mean([vote[n] for vote in votes]) for n in whole}
    winner = min(whole, key=lambda n: (means[n], n))
    return Choice(
        trial=winner,
        params=dict(slots[0][search_slot(used[0].folds[0], winner)].params),
        scores={one.dataset: [own.get(n) for n in range(trials)] for one, own in zip(used, scores, strict=True)},
        mean_ranks=[round(float(means[n]), 6) if n in means else None for n in range(trials)],
    )


def _ranks(scores: Mapping[int, float]) -> dict[int, Fraction]:
    """1 for the highest score; equal ones share the mean of their ranks."""
    return {
        n: 1 + sum(other > own for other in scores.values()) + Fraction(list(scores.values()).count(own) - 1, 2)
        for n, own in scores.items()
    }


def _mean(values: Sequence[Fraction]) -> Fraction:
    return sum(values, Fraction(0)) / len(values)


def _are_closed(one: Chooser, slots: Mapping[str, SlotRecord], trials: int) -> bool:
    names = [search_slot(fold, number) for fold in one.folds for number in range(trials)]
    return all(name in slots and slots[name].is_closed for name in names)
