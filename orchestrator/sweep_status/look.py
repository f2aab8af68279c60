"""Puts the state of a sweep together from its plan, ledger, logs and folder. Creates nothing, locks nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from orchestrator.api_plan import SweepView, view_sweep
from orchestrator.config import GridConfig, storage_of
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import LedgerError
from orchestrator.execution.remaining import Remaining, remaining
from orchestrator.ledger.location import SPOOL_NAME
from orchestrator.ledger.lock import is_locked
from orchestrator.ledger.store import open_ledger
from orchestrator.ledger.watching import DriverSight, events_waiting, look_at_driver
from orchestrator.sweep_status.cells import CellSight, cell_status, find_running, match, match_stages
from orchestrator.sweep_status.failures import failure_groups
from orchestrator.sweep_status.header import disk_status, driver_status, ledger_status, worker_groups
from orchestrator.sweep_status.model import CELL_STATES, CellStatus, SweepStatus, TimeLeft

DEFAULT_LOG_LINES = 5


def sweep_status(
    grid: GridConfig,
    locations: DataLocations,
    sweep_root: Path,
    tracking_uri: str | None = None,
    *,
    cell: str = "",
    states: Sequence[str] = (),
    log_lines: int = DEFAULT_LOG_LINES,
) -> SweepStatus:
    """The state of a sweep; can be called at any time, from any process, while the sweep runs.

    Args:
        grid: a valid grid.
        locations: where data lie.
        sweep_root: folder of all sweeps.
        tracking_uri: MLflow store; None = the sweep's own.
        cell: only cells whose name or id contains this text, in either case. Totals count all cells.
        states: only cells in one of these states; none = all.
        log_lines: lines of the log of one run of each group of failures.

    Raises:
        ConfigError: an unknown name in the grid, or values that exclude each other.
        LedgerError: a store that cannot be read.
    """
    try:
        view = view_sweep(grid, locations, sweep_root, tracking_uri)
    except LedgerError as error:
        raise LedgerError(f"{error}{_meanwhile(sweep_root / grid.name / SPOOL_NAME)}") from error
    with open_ledger(view.folder, grid.name, tracking_uri=tracking_uri, mode="read") as ledger:
        sight = look_at_driver(ledger)
        location = ledger.location
    logs, metric = view.folder / "logs", grid.search.metric
    sights, beyond = match(view.plan, view.records)
    stages = match_stages(view.plan, view.records)
    for one in (*stages, *sights):
        find_running(one, grid.search, logs, is_driven=sight.is_at_work)
    left = remaining(work for one in (*stages, *sights) if one.planned.state != "blocked" for work in one.works)
    cells = [cell_status(one, metric, _left_of(one, left), is_driven=sight.is_at_work) for one in sights]
    shared = tuple(cell_status(one, metric, _left_of(one, left), is_driven=sight.is_at_work) for one in stages)
    shown = [index for index, one in enumerate(cells) if _passes(one, cell, states)]
    groups = worker_groups(sight, view.folder)
    now = datetime.now().astimezone()
    return SweepStatus(
        name=view.plan.name,
        folder=str(view.folder),
        metric=metric,
        time=now.isoformat(timespec="seconds"),
        state=_state(view, sight, cells),
        started=sight.first_since or None,
        driver=driver_status(sight),
        worker_groups=groups,
        ledger=ledger_status(sight, location),
        disk=disk_status(view.folder, storage_of(grid, view.folder)),
        totals=_totals(cells, sights) | {"lost_steps": _lost_steps((*stages, *sights))},
        left=_time_left(left, _groups_at_work(view, sight, sights, groups), now, is_driven=sight.is_at_work),
        cells=tuple(cells[index] for index in shown),
        stages=shared,
        running=tuple(run for one in (*stages, *(sights[index] for index in shown)) for run in one.running),
        failures=failure_groups(
            ((one.planned, one.slots) for one in (*stages, *(sights[i] for i in shown))), logs, log_lines
        ),
        not_in_grid=beyond,
        cells_shown=len(shown),
    )


def _meanwhile(spool: Path) -> str:
    """What the folder alone can tell where MLflow is away."""
    waiting = events_waiting(spool)
    words = [
        *(["a driver is at work on this machine"] if is_locked(spool) else []),
        *([f"{waiting} events wait in {spool}, nothing of them is lost"] if waiting else []),
    ]
    return f" Meanwhile {' and '.join(words)}." if words else ""


def _passes(one: CellStatus, text: str, states: Sequence[str]) -> bool:
    wanted = text.casefold()
    named = wanted in one.cell.casefold() or wanted == (one.cell_id or "").casefold()
    return named and (not states or one.state in states)


def _left_of(one: CellSight, left: Remaining | None) -> float | None:
    return None if left is None else round(left.cells_s.get(str(one.planned.cell), 0.0), 1)


def _state(view: SweepView, sight: DriverSight, cells: Sequence[CellStatus]) -> str:
    if sight.is_at_work:
        return "running"
    if not view.records:
        return "not_started"
    if any(one.state in ("interrupted", "partial", "missing") for one in cells):
        return "interrupted" if sight.ending == "died" else "stopped"
    return "finished"


def _totals(cells: Sequence[CellStatus], sights: Iterable[CellSight]) -> dict[str, Any]:
    counts = Counter(one.state for one in cells)
    at_hand = [one for one in cells if one.state != "blocked"]
    names = ("runs", "runs_done", "runs_failed", "search_runs", "search_done", "final_runs", "final_done")
    return {
        "cells": len(cells),
        "states": {state: counts[state] for state in CELL_STATES},
        **{name: sum(getattr(one, name) for one in at_hand) for name in names},
        "running": sum(one.running for one in cells),
        "interrupted": sum(one.interrupted for one in cells),
        "repeated": sum(slot.attempt > 1 for one in sights for slot in one.slots.values()),
        "seconds": round(sum(one.seconds for one in cells), 3),
    }


def _lost_steps(sights: Iterable[CellSight]) -> int:
    """Steps that are trained twice, shared stages included; slots that one training fills count once."""
    return sum({slot.key: slot.lost_steps for one in sights for slot in one.slots.values()}.values())


def _groups_at_work(view: SweepView, sight: DriverSight, sights: Iterable[CellSight], known: int | None) -> int | None:
    """Worker groups that share what is left: those that have a run now; without a driver, those that would start."""
    if not sight.is_at_work:
        return view.plan.groups
    in_flight = sum(run.state == "running" for one in sights for run in one.running)
    most = known or view.plan.groups
    return min(most, max(1, in_flight)) if most else in_flight or None


def _time_left(left: Remaining | None, groups: int | None, now: datetime, *, is_driven: bool) -> TimeLeft:
    if left is None:
        return TimeLeft(work_s=None, wall_s=None, finish=None, groups=groups, is_measured=False)
    wall_s = left.wall_s(groups) if groups else None
    ends = now + timedelta(seconds=wall_s) if is_driven and wall_s else None
    return TimeLeft(
        work_s=round(left.work_s, 1),
        wall_s=None if wall_s is None else round(wall_s, 1),
        finish=ends.isoformat(timespec="seconds") if ends else None,
        groups=groups,
        is_measured=True,
    )
