"""What the ledger holds, as plain data: a cell's slots and the state of each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Literal

SlotState = Literal["running", "finished", "stopped", "failed", "superseded"]


@dataclass(frozen=True, kw_only=True)
class SlotRecord:
    """One slot of a cell: known at plan time; the key is known once its parameters are drawn.

    Kept as one tag of the cell's parent run, `hsfm.slot.<slot>`, in JSON, so that a start reads parents only.
    Slot names: `search/f<fold>/<trial number>`, `final/<seed>`.
    """

    slot: str
    key: str
    """Key of the run that fills the slot."""
    params: Mapping[str, Any] = field(default_factory=dict)
    """The tuned fields as drawn."""
    state: SlotState = "running"
    attempt: int = 1
    """Number of the newest attempt at the run; words of older ones are refused."""
    reached_step: int = 0
    """Optimiser step of the last rung that the run has reached."""
    scores: Mapping[str, float] = field(default_factory=dict)
    """Newest scores at `reached_step`, or the final ones: "val/miou", "test/miou" and so on."""
    failures: int = 0
    """Attempts that were lost or failed, those that went with their machine not counted."""
    lost_nodes: int = 0
    """Attempts that went with their machine: taken back, cut off or broken."""
    lost_steps: int = 0
    """Optimiser steps that no checkpoint held when an attempt went: they are trained twice. To within ten steps each
    time; those of a driver that was killed are not known."""
    error: str = ""
    """Why it failed, in a line; the log has the rest."""
    cause: str = ""
    """Class of the last failure: lost, node_lost, storage, out_of_memory, run_error, time_limit, stalled; "" = none."""
    micro_batches: int = 1
    """Parts that a rank's batch is computed in: 2 after the run was out of memory."""
    seconds: float = 0.0
    """Wall-clock seconds of training and scoring, all segments of counted attempts."""
    stop_reason: str = ""
    """For a stopped trial: rung, step, its score and the score it would have needed."""

    @property
    def is_closed(self) -> bool:
        return self.state in ("finished", "stopped", "failed", "superseded")

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> SlotRecord:
        known = cls.__dataclass_fields__
        return cls(**{k: v for k, v in data.items() if k in known})

    def with_(self, **changes: Any) -> SlotRecord:
        return replace(self, **changes)


@dataclass(frozen=True, kw_only=True)
class CellRecord:
    """A cell as the ledger knows it."""

    cell_id: str
    slots: Mapping[str, SlotRecord] = field(default_factory=dict)
    tags: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class RunRow:
    """One MLflow run of a sweep, for the results table: every factor, param, metric and state."""

    run_id: str
    key: str
    cell_id: str
    slots: tuple[str, ...]
    stage: str
    state: str
    """finished, stopped, failed, running, superseded, or interrupted (left RUNNING by a driver that is gone)."""
    tags: Mapping[str, str]
    params: Mapping[str, str]
    metrics: Mapping[str, float]
    evaluation: Mapping[str, Any] | None = None
    """The artifact `evaluation.json` of a final run: confusion matrix per test image or block, class names."""
