"""What can be seen from outside of the driver of a sweep and of what MLflow still has to be told. Touches nothing."""

from __future__ import annotations

import json
import re
import sqlite3
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from orchestrator.ledger.lease import HEARTBEAT_S, HEARTBEAT_TAG, LEASE_PREFIX, RELEASED_TAG, STALE_S, Driver
from orchestrator.ledger.lock import HOLDER_NAME, is_locked
from orchestrator.ledger.reading import read_mlflow_tables
from orchestrator.ledger.session import Ledger
from orchestrator.ledger.spool import EVENTS_NAME, REFUSED_NAME, STATE_NAME, read_committed

BEHIND_AFTER_S = 3 * HEARTBEAT_S
"""MLflow counts as away when it has taken no heartbeat of a living driver for so long."""
_TAIL_BYTES = 2**16

_SWEEP_RUNS = """
select runs.run_uuid, 'param' as kind, params.key, params.value from runs
join experiments on experiments.experiment_id = runs.experiment_id
join tags as role on role.run_uuid = runs.run_uuid and role.key = 'hsfm.role' and role.value = 'sweep'
join params on params.run_uuid = runs.run_uuid
where experiments.name = :name and experiments.lifecycle_stage = 'active' and runs.lifecycle_stage = 'active'
union all
select runs.run_uuid, 'tag', tags.key, tags.value from runs
join experiments on experiments.experiment_id = runs.experiment_id
join tags as role on role.run_uuid = runs.run_uuid and role.key = 'hsfm.role' and role.value = 'sweep'
join tags on tags.run_uuid = runs.run_uuid
where experiments.name = :name and experiments.lifecycle_stage = 'active' and runs.lifecycle_stage = 'active'
"""


@dataclass(frozen=True, kw_only=True)
class DriverSight:
    """A sweep's driver and MLflow, seen from outside."""

    driver: Driver | None
    """The one at work, else the last one that is known."""
    is_at_work: bool
    ending: Literal["", "ended", "died"]
    """How the last driver left: it said good-bye, or it was killed; "" where one is at work or there was none."""
    first_since: str
    """When the sweep was first started, ISO 8601; "" where it cannot be told."""
    heartbeat_ms: int | None
    """When MLflow last heard of the driver, in milliseconds since 1970."""
    events_waiting: int
    """Events in the spool that MLflow has not been told yet."""
    events_refused: int
    """Events that MLflow refused for good; they are kept in the spool's folder."""

    @property
    def heartbeat_age_s(self) -> float | None:
        """Seconds since MLflow heard of the driver."""
        return None if self.heartbeat_ms is None else max(0.0, time.time() - self.heartbeat_ms / 1000)

    @property
    def is_behind(self) -> bool:
        """Whether MLflow does not take what a driver at work tells it."""
        age_s = self.heartbeat_age_s
        return self.is_at_work and age_s is not None and age_s > BEHIND_AFTER_S


@dataclass(frozen=True)
class _SweepRun:
    """The sweep's own run: leases and heartbeat."""

    params: dict[str, str]
    tags: dict[str, str]

    @property
    def leases(self) -> dict[int, Driver]:
        found = {}
        for key, value in self.params.items():
            number = key.removeprefix(LEASE_PREFIX)
            if key.startswith(LEASE_PREFIX) and number.isdigit():
                try:
                    found[int(number)] = Driver.from_json(json.loads(value))
                except (ValueError, TypeError):
                    continue
        return found


def look_at_driver(ledger: Ledger) -> DriverSight:
    """Who drives the sweep of a ledger that was opened for reading.

    The folder's lock tells it for sure where the driver runs on this machine. For others there are the lease and its
    heartbeat.

    Raises:
        LedgerError: the store does not answer.
    """
    spool = ledger.location.spool_dir
    run = _sweep_run(ledger)
    leases = run.leases
    newest = max(leases, default=0)
    beat = run.tags.get(HEARTBEAT_TAG, "")
    heartbeat_ms = int(beat) if beat.isdigit() else None
    driver = leases.get(newest)
    locked = is_locked(spool)
    is_at_work = bool(locked)
    is_released = bool(newest) and run.tags.get(RELEASED_TAG) == str(newest)
    if is_at_work:
        driver = _holder(spool) or driver
    elif driver is not None and not is_released and not (locked is False and driver.spool == _spool_id(spool)):
        alive = driver.is_running_here()
        if alive is None:
            alive = heartbeat_ms is not None and time.time() - heartbeat_ms / 1000 < STALE_S
        is_at_work = alive
    died = driver is not None and not is_at_work and not is_released
    return DriverSight(
        driver=driver,
        is_at_work=is_at_work,
        ending="" if is_at_work or driver is None else ("died" if died else "ended"),
        first_since=leases[min(leases)].since if leases else (driver.since if driver else ""),
        heartbeat_ms=heartbeat_ms,
        events_waiting=events_waiting(spool),
        events_refused=_lines(spool / REFUSED_NAME),
    )


def events_waiting(spool: Path) -> int:
    """Events that MLflow has not been told yet: they are numbered without gaps, so the last line tells."""
    told = read_committed(spool)
    path = spool / EVENTS_NAME
    try:
        size = path.stat().st_size
        with path.open("rb") as file:
            length = _TAIL_BYTES
            while True:
                file.seek(max(0, size - length))
                lines = file.read(size - file.tell()).split(b"\n")
                whole = lines[1 if length < size else 0 : -1]  # the first may be cut, the last is torn or empty
                if whole or length >= size:
                    break
                length *= 8
    except OSError:
        return 0
    found = re.match(rb'\{"n":(\d+)', whole[-1]) if whole else None
    return max(0, int(found.group(1)) - told) if found else 0


def _lines(path: Path) -> int:
    try:
        return path.read_bytes().count(b"\n")
    except OSError:
        return 0


def _holder(spool: Path) -> Driver | None:
    try:
        data = json.loads((spool / HOLDER_NAME).read_text())
        return Driver.from_json(data) if isinstance(data, dict) else None
    except (OSError, ValueError, TypeError):
        return None


def _spool_id(spool: Path) -> str | None:
    try:
        return str(json.loads((spool / STATE_NAME).read_bytes())["spool"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _sweep_run(ledger: Ledger) -> _SweepRun:
    database = ledger.location.database
    if database is not None:
        if not database.exists():
            return _SweepRun({}, {})
        found = _from_sqlite(database, ledger.sweep_name)
        if found is not None:
            return _the_one(found)
    runs = ledger.search("tags.`hsfm.role` = 'sweep'")
    return _the_one([_SweepRun(dict(run.data.params), dict(run.data.tags)) for run in runs])


def _from_sqlite(database: Path, name: str) -> list[_SweepRun] | None:
    """The sweep's own runs; None where the schema was not checked or the file cannot be read this way."""
    try:
        rows = read_mlflow_tables(
            database, lambda connection: connection.execute(_SWEEP_RUNS, {"name": name}).fetchall()
        )
    except sqlite3.Error:
        return None
    if rows is None:
        return None
    found: dict[str, _SweepRun] = {}
    for run_id, kind, key, value in rows:
        run = found.setdefault(run_id, _SweepRun({}, {}))
        (run.params if kind == "param" else run.tags)[key] = value
    return list(found.values())


def _the_one(runs: list[_SweepRun]) -> _SweepRun:
    """Two drivers may have created one each at the same time: the one with a lease counts."""
    return next((run for run in runs if run.leases), runs[0] if runs else _SweepRun({}, {}))
