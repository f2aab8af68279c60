"""Whether a ledger is at rest, and a stamp by which to see later that nobody has written to it since.

For the question of a re-run with nothing to do. It is asked of the embedded store only, and costs milliseconds.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path

from orchestrator.ledger.location import StoreLocation
from orchestrator.ledger.reading import read_mlflow_tables
from orchestrator.ledger.spool import read_after, read_committed

_RUNNING = """
select count(*) from runs join experiments on experiments.experiment_id = runs.experiment_id
where experiments.name = ? and runs.lifecycle_stage = 'active' and runs.status = 'RUNNING'
"""


def stamp_at_rest(location: StoreLocation, sweep_name: str) -> str:
    """A stamp that changes with every write to the store.

    Returns:
        "" where a run is RUNNING (a driver is at work, or was killed), where events wait to be told, and where the
        store is a server or of an unknown schema.
    """
    database = location.database
    if database is None or not database.exists():
        return ""
    if read_after(location.spool_dir, read_committed(location.spool_dir)):
        return ""
    before = _sizes_and_times(database)

    def is_at_rest(connection: sqlite3.Connection) -> bool:
        return not connection.execute(_RUNNING, (sweep_name,)).fetchone()[0]

    try:
        return before if read_mlflow_tables(database, is_at_rest) else ""
    except sqlite3.Error:
        return ""


def _sizes_and_times(database: Path) -> str:
    """Of the database, and of its log where anything is in it."""
    found = []
    for path in (database, database.with_name(f"{database.name}-wal")):
        if path.exists() and path.stat().st_size:
            found.append(f"{path.stat().st_size}:{path.stat().st_mtime_ns}")
    return " ".join(found)
