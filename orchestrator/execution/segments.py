"""A segment of a run, and the journal that is told of every decision before it leaves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol

from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import RunSpec


@dataclass(frozen=True, kw_only=True)
class Segment:
    """A piece of one run: from where it stands up to its next rung or its end."""

    lease_id: str
    cell_id: str
    slot: str
    spec: RunSpec
    attempt: int
    until_step: int
    is_new_attempt: bool
    micro_batches: int = 1
    stages: tuple[RunSpec, ...] = ()
    """Shared stages that the run builds on."""
    spent_s: float = 0.0
    """Seconds that earlier segments of the run took."""


class Journal(Protocol):
    """Where decisions go before they leave (the ledger, or a test's list)."""

    def together(self) -> AbstractContextManager[object]:
        """What is written inside is on the disk when the block is left, written down at once."""

    def put_slot(self, cell_id: str, record: SlotRecord) -> None: ...
    def chosen(self, planned: PlannedCell, choice: str, scenes: Sequence[str]) -> None: ...
    def segment_started(self, planned: PlannedCell, segment: Segment, slots: Sequence[str]) -> None: ...
    def progressed(self, segment: Segment, points: Sequence[Mapping[str, Any]]) -> None: ...
    def noted(self, planned: PlannedCell, segment: Segment, text: str) -> None: ...
    def attempt_failed(
        self, planned: PlannedCell, segment: Segment, *, cause: str, error: str, decided: str
    ) -> None: ...
    def run_closed(self, planned: PlannedCell, record: SlotRecord, event: Mapping[str, Any]) -> None: ...
    def superseded(self, planned: PlannedCell, record: SlotRecord) -> None: ...
    def cell_closed(self, planned: PlannedCell, slots: Mapping[str, SlotRecord]) -> None: ...
