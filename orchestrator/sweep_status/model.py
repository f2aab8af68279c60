"""The state of a sweep as plain, typed data. Its JSON form is documented in docs/json.md; absent is None."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

SCHEMA = 2
"""Raised when a field changes its meaning or goes; new fields are only added."""
CELL_STATES = ("done", "running", "waiting", "interrupted", "partial", "missing", "blocked", "failed")
SWEEP_STATES = ("not_started", "running", "interrupted", "stopped", "finished")


@dataclass(frozen=True, kw_only=True)
class CellStatus:
    """One cell."""

    cell_id: str | None
    cell: str
    """Its name: strategy, data set and labels."""
    strategy: str
    dataset: str
    label_budget: str
    split: str
    """block, random or images: another split is another test set."""
    state: str
    """One of CELL_STATES."""
    reason: str
    remedy: str
    optional: bool
    runs: int
    runs_done: int
    runs_failed: int
    search_runs: int
    search_done: int
    final_runs: int
    final_done: int
    running: int
    """Runs under way now; 0 while no driver is at work."""
    interrupted: int
    """Runs that a driver which is gone left under way."""
    best_validation: float | None
    best_trial: str | None
    """Slot of the trial with the best validation score."""
    mean_test: float | None
    """Mean test score over all final seeds; None while the cell is not done."""
    seconds: float
    """Run seconds measured so far."""
    left_s: float | None
    """Run seconds left, on one worker group; None = no estimate."""
    matched_by: str
    """cell_id, or name where the data set is not prepared here; "" where the ledger has nothing."""


@dataclass(frozen=True, kw_only=True)
class RunStatus:
    """A run that is under way, or was when its driver went."""

    cell_id: str
    cell: str
    slot: str
    key: str
    state: str
    """running, at_rung (waits for the other trials of its round), or interrupted."""
    attempt: int
    step: int
    """Optimiser step of its last report."""
    steps: int
    reported_s_ago: float | None
    error: str
    """Why its last attempt ended, where that was bad."""
    log: str


@dataclass(frozen=True, kw_only=True)
class FailureGroup:
    """Runs that failed for one cause, with one error."""

    cause: str
    """lost, storage, out_of_memory, run_error, time_limit or stalled; "" where it was not recorded."""
    error: str
    """First line of the example's error."""
    advice: str
    count: int
    runs: tuple[Mapping[str, str], ...]
    """All of them: cell_id, cell, slot, key, log."""
    cells: tuple[str, ...]
    log: str
    """Log of the first of them."""
    log_lines: tuple[str, ...]
    """Its last lines."""


@dataclass(frozen=True, kw_only=True)
class DriverStatus:
    """The driver at work, or the last one."""

    at_work: bool
    process: int
    host: str
    since: str
    heartbeat: str | None
    """When MLflow last heard of it."""
    heartbeat_age_s: float | None
    ending: str | None
    """How the last one left: ended or died; None while one is at work."""


@dataclass(frozen=True, kw_only=True)
class LedgerStatus:
    """MLflow and the spool."""

    store: str
    is_behind: bool
    """Whether MLflow does not take what the driver tells it; it is safe in the spool."""
    events_waiting: int
    events_refused: int
    spool: str


@dataclass(frozen=True, kw_only=True)
class DiskStatus:
    """The sweep's folder."""

    used_bytes: int | None
    is_partial: bool
    """Whether there were too many files to count them all: then more is used."""
    free_bytes: int | None
    storage: str
    """Where checkpoints go."""


@dataclass(frozen=True, kw_only=True)
class TimeLeft:
    """How long it still takes; every value is None where nothing was measured yet."""

    work_s: float | None
    """Run seconds left, on one worker group."""
    wall_s: float | None
    finish: str | None
    """Clock time of the end; None while no driver is at work."""
    groups: int | None
    """Worker groups that the estimate assumes."""
    is_measured: bool


@dataclass(frozen=True, kw_only=True)
class Beyond:
    """What the ledger holds and the grid does not ask for (any more)."""

    cells: int
    runs_done: int
    """Finished runs of those cells."""
    slots: int
    """Runs beyond the grid's trials and seeds, in cells that it does ask for."""


@dataclass(frozen=True, kw_only=True)
class SweepStatus:
    """A sweep as it stands."""

    name: str
    folder: str
    metric: str
    time: str
    """When this was looked at."""
    state: str
    """One of SWEEP_STATES."""
    started: str | None
    """When it was first started."""
    driver: DriverStatus | None
    worker_groups: int | None
    """Worker groups of the driver at work, where they are known."""
    ledger: LedgerStatus
    disk: DiskStatus
    totals: Mapping[str, Any]
    left: TimeLeft
    cells: tuple[CellStatus, ...]
    stages: tuple[CellStatus, ...]
    """Stages that cells share (own pretraining, features of a frozen backbone), each with one run."""
    running: tuple[RunStatus, ...]
    failures: tuple[FailureGroup, ...]
    not_in_grid: Beyond
    cells_shown: int
    """How many cells the filters let through."""

    @property
    def is_started(self) -> bool:
        """Whether the ledger holds anything of it."""
        return self.state != "not_started"

    def to_data(self) -> dict[str, Any]:
        """As JSON can hold it, schema and all."""
        return {"schema": SCHEMA, **_plain(asdict(self))}


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(inner) for key, inner in value.items()}
    if isinstance(value, float):
        return value if abs(value) != float("inf") and value == value else None
    return [_plain(inner) for inner in value] if isinstance(value, tuple | list) else value
