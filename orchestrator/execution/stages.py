"""What the cells of a sweep wait for: shared stages that are finished, failed, or still to come."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Literal

from orchestrator.execution.cell_state import CellState


class Stages:
    """The shared stages among the cells of a sweep, as they stand."""

    def __init__(self, cells: Mapping[str, CellState]) -> None:
        """`cells` by id, stages among them; they are looked at, never changed."""
        self._cells = cells

    def are_finished(self, ids: Collection[str]) -> bool:
        """Whether all these stages are finished."""
        return all(self._outcome(one) == "finished" for one in ids)

    def are_waited_for(self, state: CellState) -> bool:
        """Whether anything that a cell builds on may still be finished."""
        return any(self._outcome(one) == "waited_for" for one in self._needed(state))

    def hold_up_trials(self, state: CellState) -> bool:
        """Whether trials of a cell build on a stage that this start will not finish."""
        return any(self._outcome(one) == "failed" for fold in state.planned.folds_used for one in state.needs(fold))

    def failed(self, state: CellState) -> list[str]:
        """Stages without which a cell cannot go on, each with its error."""
        return [
            self._words(one) for one in self._needed(state) if self._outcome(one) == "failed" and one in self._cells
        ]

    def _needed(self, state: CellState) -> Iterator[str]:
        """Ids of the stages that any run of a cell builds on, each once."""
        if state.planned.pretraining is None and state.planned.features is None and not state.planned.stages:
            return
        found: dict[str, None] = {}
        for fold in state.planned.folds_used:
            for seed in (*([None] if state.planned.trials else []), *state.final_seeds(fold)):
                found |= dict.fromkeys(state.needs(fold, seed))
        yield from found

    def _outcome(self, cell_id: str) -> Literal["finished", "failed", "waited_for"]:
        """failed: neither it nor what it builds on will be finished by this start."""
        stage = self._cells.get(cell_id)
        if stage is None:
            return "failed"
        if any(record.state == "finished" for record in stage.slots.values()):
            return "finished"
        return "failed" if stage.is_closed else "waited_for"

    def _words(self, cell_id: str) -> str:
        stage = self._cells[cell_id]
        error = next((record.error for record in stage.slots.values() if record.error), "not finished")
        return f"{stage.planned.cell}: {error}"
