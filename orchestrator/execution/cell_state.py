"""One cell of a running sweep: its slots, and what they say about rounds, rungs, winners and finals. Queries only."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.execution import studies, tallies
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import final_spec, fold_of_seed, search_spec

SELECTION = tallies.SELECTION
"""Score under which a slot keeps the validation value that decides."""


def search_slot(fold: int, number: int) -> str:
    """Name of a trial's slot."""
    return f"search/f{fold}/{number}"


def final_slot(seed: int) -> str:
    """Name of a final run's slot."""
    return f"final/{seed}"


def number_of(slot: str) -> int:
    """Trial number or seed, the last part of a slot's name."""
    return int(slot.rsplit("/", 1)[1])


def fold_of_search(slot: str) -> int:
    """Fold of a trial's slot."""
    return int(slot.split("/")[1].removeprefix("f"))


@dataclass
class CellState:
    """A cell with the newest record of each of its slots."""

    planned: PlannedCell
    slots: dict[str, SlotRecord]
    rungs: tuple[int, ...]
    """Optimiser steps at which trials are judged; the last is the end of training."""
    is_closed: bool = False

    @property
    def cell_id(self) -> str:
        return str(self.planned.cell_id)

    @property
    def remaining_s(self) -> float:
        """Estimated device seconds of what is not closed yet."""
        closed = sum(record.is_closed for record in self.slots.values())
        return self.planned.device_s * max(0.0, 1 - closed / max(1, self.planned.runs_total))

    def twins(self, key: str) -> list[str]:
        """Slots that this training fills: equal parameters are one run."""
        return [slot for slot, record in self.slots.items() if record.key == key and record.state != "superseded"]

    def spec(self, record: SlotRecord) -> RunSpec:
        """The run of a slot."""
        if record.slot.startswith("search/"):
            return search_spec(self.planned, fold_of_search(record.slot), number_of(record.slot), record.params)
        return final_spec(self.planned, number_of(record.slot), record.params)

    # ---- rounds

    def open_round(self, fold: int, size: int) -> list[int] | None:
        """Trial numbers of the first round that is not closed; None when the search of the fold is over."""
        for first in range(0, self.planned.trials, size):
            numbers = list(range(first, min(first + size, self.planned.trials)))
            records = [self.slots.get(search_slot(fold, n)) for n in numbers]
            if any(record is None or not record.is_closed for record in records):
                return numbers
        return None

    def running(self, fold: int, numbers: Sequence[int]) -> list[SlotRecord]:
        """Trials of a round that are not closed, one a key."""
        found: dict[str, SlotRecord] = {}
        for number in numbers:
            record = self.slots.get(search_slot(fold, number))
            if record is not None and not record.is_closed:
                found.setdefault(record.key, record)
        return list(found.values())

    def next_rung(self, running: Sequence[SlotRecord]) -> int:
        """The rung that the running trials of a round are on their way to."""
        lowest = min(record.reached_step for record in running)
        return next((rung for rung in self.rungs if rung > lowest), self.rungs[-1])

    # ---- winners and finals

    def winner(self, fold: int) -> SlotRecord | None:
        """The finished trial of a fold with the best validation score; None where every trial failed."""
        records = {n: self.slots.get(search_slot(fold, n)) for n in range(self.planned.trials)}
        finished = {
            n: record.scores[SELECTION]
            for n, record in records.items()
            if record is not None and record.state == "finished" and SELECTION in record.scores
        }
        number = studies.winner(finished)
        return None if number is None else records[number]

    def final_seeds(self, fold: int) -> list[int]:
        """Final seeds that use a fold."""
        return [seed for seed in range(self.planned.seeds) if fold_of_seed(self.planned, seed) == fold]
