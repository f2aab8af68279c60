"""One cell of a running sweep: its slots, and what they say about rounds, rungs, winners and finals."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orchestrator.execution import studies, tallies
from orchestrator.execution.segments import Segment
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import SEARCH_SEED, final_spec, fold_of_seed, search_spec
from orchestrator.plan.stages import stage_id, stages_of

BEFORE_ALL_S = 1e12
"""Added to what a shared stage has left, so that stages start before the cells that wait for them."""
SELECTION = tallies.SELECTION
"""Score under which a slot keeps the validation value that decides."""


def search_slot(fold: int, number: int) -> str:
    """Name of a trial's slot."""
    return f"search/f{fold}/{number}"


def number_of(slot: str) -> int:
    """Trial number or seed, the last part of a slot's name."""
    return int(slot.rsplit("/", 1)[1])


def fold_of_search(slot: str) -> int:
    """Fold of a trial's slot."""
    return int(slot.split("/")[1].removeprefix("f"))


@dataclass
class CellState:
    """A cell with the newest record of each of its slots, which change by `put` alone.

    What a decision needs is kept up to date by `put`, so that no decision looks at all slots of a cell.
    """

    planned: PlannedCell
    slots: dict[str, SlotRecord]
    rungs: tuple[int, ...]
    """Optimiser steps at which trials are judged; the last is the end of training."""
    is_closed: bool = False
    in_flight: int = 0
    """Segments of its runs that are under way."""
    _slots_of: dict[str, dict[str, None]] = field(default_factory=dict, init=False)
    """Names of the slots of a key, in order."""
    _closed: int = field(default=0, init=False)
    _first_open: dict[int, int] = field(default_factory=dict, init=False)
    """By fold, the first trial of the first round that was open when last looked at."""
    _winners: dict[int, SlotRecord | None] = field(default_factory=dict, init=False)
    _final_keys: dict[int, tuple[dict[str, Any], str]] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        for record in self.slots.values():
            self._slots_of.setdefault(record.key, {})[record.slot] = None
            self._closed += record.is_closed

    def put(self, record: SlotRecord) -> None:
        """Keep the newest record of a slot."""
        old = self.slots.get(record.slot)
        if old is not None:
            self._closed -= old.is_closed
            if old.key != record.key:
                del self._slots_of[old.key][old.slot]
        self.slots[record.slot] = record
        self._closed += record.is_closed
        self._slots_of.setdefault(record.key, {})[record.slot] = None
        if record.slot.startswith("search/"):
            self._winners.clear()
            self._final_keys.clear()
            if old is not None and old.is_closed and not record.is_closed:
                self._first_open.pop(fold_of_search(record.slot), None)

    def reopen(self, *, everything: bool) -> None:
        """A new start gives failed runs that block a result another chance; `retry` gives it to all.

        Attempts are counted anew: somebody has looked at it, or the machine is another one.
        """
        for slot, record in list(self.slots.items()):
            if record.state == "running" and (record.failures or record.lost_nodes):
                self.put(record.with_(failures=0, lost_nodes=0))
            if record.state != "failed":
                continue
            is_search = slot.startswith("search/")
            if everything or not is_search or self.winner(fold_of_search(slot)) is None:
                self.put(
                    record.with_(
                        state="running",
                        failures=0,
                        lost_nodes=0,
                        error="",
                        cause="",
                        micro_batches=1,
                        reached_step=0,
                        scores={},
                    )
                )

    @property
    def cell_id(self) -> str:
        return str(self.planned.cell_id)

    def last_slot(self, seed: int) -> str:
        """Name of the slot of a final run, or of a shared stage's only run."""
        return f"{self.planned.stage}/{seed}"

    def stages(self, record: SlotRecord) -> tuple[RunSpec, ...]:
        """The shared stages that a slot's run builds on."""
        if self.planned.stage != "final":
            return self.planned.stages
        if record.slot.startswith("search/"):
            fold = fold_of_search(record.slot)
            return stages_of(self.planned, fold, SEARCH_SEED + fold, is_search=True)
        seed = number_of(record.slot)
        return stages_of(self.planned, fold_of_seed(self.planned, seed), seed, is_search=False)

    def needs(self, fold: int, seed: int | None = None) -> tuple[str, ...]:
        """Ids of the shared stages that a final run builds on, or, without a seed, the trials of a fold."""
        if self.planned.stage != "final":
            return tuple(stage_id(one.key) for one in self.planned.stages)
        number = SEARCH_SEED + fold if seed is None else seed
        return tuple(stage_id(one.key) for one in stages_of(self.planned, fold, number, is_search=seed is None))

    @property
    def remaining_s(self) -> float:
        """Estimated device seconds of what is not closed yet."""
        own_s = self.planned.device_s * max(0.0, 1 - self._closed / max(1, self.planned.runs_total))
        return own_s if self.planned.stage == "final" else own_s + BEFORE_ALL_S

    def twins(self, key: str) -> list[str]:
        """Slots that this training fills: equal parameters are one run."""
        return [slot for slot in self._slots_of.get(key, ()) if self.slots[slot].state != "superseded"]

    def of_key(self, key: str) -> SlotRecord | None:
        """A record of the run with this key, superseded ones included."""
        return next((self.slots[slot] for slot in self._slots_of.get(key, ())), None)

    def spec(self, record: SlotRecord) -> RunSpec:
        """The run of a slot."""
        if record.slot.startswith("search/"):
            return search_spec(self.planned, fold_of_search(record.slot), number_of(record.slot), record.params)
        return final_spec(self.planned, number_of(record.slot), record.params)

    def segment(self, record: SlotRecord, until_step: int, *, is_new_attempt: bool) -> Segment:
        """The piece of a slot's run from where it stands up to `until_step`."""
        return Segment(
            lease_id=f"{record.key}.{record.attempt}.{record.failures}.{until_step}",
            cell_id=self.cell_id,
            slot=record.slot,
            spec=self.spec(record),
            attempt=record.attempt,
            until_step=until_step,
            is_new_attempt=is_new_attempt,
            micro_batches=record.micro_batches,
            stages=self.stages(record),
            spent_s=record.seconds,
        )

    # ---- rounds

    def open_round(self, fold: int, size: int) -> list[int] | None:
        """Trial numbers of the first round that is not closed; None when the search of the fold is over."""
        for first in range(self._first_open.get(fold, 0), self.planned.trials, size):
            self._first_open[fold] = first
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
        if fold not in self._winners:
            self._winners[fold] = self._find_winner(fold)
        return self._winners[fold]

    def _find_winner(self, fold: int) -> SlotRecord | None:
        records = {n: self.slots.get(search_slot(fold, n)) for n in range(self.planned.trials)}
        finished = {
            n: record.scores[SELECTION]
            for n, record in records.items()
            if record is not None and record.state == "finished" and SELECTION in record.scores
        }
        number = studies.winner(finished)
        return None if number is None else records[number]

    def final_params(self, fold: int) -> dict[str, Any] | None:
        """The tuned fields of a fold's finals: the winner's, or the defaults where nothing is searched."""
        if not self.planned.trials:
            template = self.planned.template
            assert template is not None
            return {name: template.fields[name] for name in self.planned.space}
        best = self.winner(fold)
        return None if best is None else dict(best.params)

    def final_key(self, seed: int, params: Mapping[str, Any]) -> str:
        """Key of a final run with the winner's values; worked out again once a trial or the winner has changed."""
        known = self._final_keys.get(seed)
        if known is None or known[0] != params:
            known = self._final_keys[seed] = (dict(params), final_spec(self.planned, seed, params).key)
        return known[1]

    def final_seeds(self, fold: int) -> list[int]:
        """Final seeds that use a fold."""
        return [seed for seed in self.planned.final_seeds if fold_of_seed(self.planned, seed) == fold]
