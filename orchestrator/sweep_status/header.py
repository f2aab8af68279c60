"""The sweep as a whole: driver, worker groups, ledger and disk."""

from __future__ import annotations

import os
import shutil
import time
from datetime import datetime
from pathlib import Path

from orchestrator.config.secrets import mask_secrets
from orchestrator.ledger.location import StoreLocation
from orchestrator.ledger.watching import DriverSight
from orchestrator.sweep_status.model import DiskStatus, DriverStatus, LedgerStatus

COUNTING_LIMIT_S = 1.0


def driver_status(sight: DriverSight) -> DriverStatus | None:
    """The driver as data; None where there never was one."""
    if sight.driver is None:
        return None
    beat = sight.heartbeat_ms
    age_s = sight.heartbeat_age_s
    return DriverStatus(
        at_work=sight.is_at_work,
        process=sight.driver.pid,
        host=sight.driver.host,
        since=sight.driver.since,
        heartbeat=None
        if beat is None
        else datetime.fromtimestamp(beat / 1000).astimezone().isoformat(timespec="seconds"),
        heartbeat_age_s=None if age_s is None else round(age_s, 1),
        ending=sight.ending or None,
    )


def ledger_status(sight: DriverSight, location: StoreLocation) -> LedgerStatus:
    """MLflow and the spool as data."""
    return LedgerStatus(
        store=mask_secrets(location.tracking_uri),
        is_behind=sight.is_behind,
        events_waiting=sight.events_waiting,
        events_refused=sight.events_refused,
        spool=str(location.spool_dir),
    )


def worker_groups(sight: DriverSight, folder: Path) -> int | None:
    """Worker groups of the driver at work: each has a folder that carries the driver's process number."""
    if not sight.is_at_work or sight.driver is None:
        return None
    return len(list((folder / "ray").glob(f"group-*-{sight.driver.pid}"))) or None


def disk_status(folder: Path, storage: str) -> DiskStatus:
    """What the sweep's folder takes, counted for a second at most, and what is free there."""
    used, is_partial = _used_bytes(folder) if folder.is_dir() else (None, False)
    try:
        free: int | None = shutil.disk_usage(folder if folder.is_dir() else _nearest(folder)).free
    except OSError:
        free = None
    return DiskStatus(
        used_bytes=used,
        is_partial=is_partial,
        free_bytes=free,
        storage=mask_secrets(storage),
    )


def _used_bytes(folder: Path) -> tuple[int, bool]:
    deadline = time.monotonic() + COUNTING_LIMIT_S
    total, todo = 0, [str(folder)]
    while todo:
        if time.monotonic() > deadline:
            return total, True
        try:
            with os.scandir(todo.pop()) as entries:
                for entry in entries:
                    try:
                        if entry.is_dir(follow_symlinks=False):
                            todo.append(entry.path)
                        else:
                            total += entry.stat(follow_symlinks=False).st_size
                    except OSError:
                        continue  # deleted while we looked: a sweep is at work here
        except OSError:
            continue
    return total, False


def _nearest(folder: Path) -> Path:
    return next((parent for parent in folder.parents if parent.is_dir()), Path("/"))
