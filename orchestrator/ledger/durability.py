"""When the embedded store's writes reach the disk: once a batch of events, instead of once an MLflow call.

MLflow commits about ten times a run, and SQLite would wait for the disk each time. The spool keeps every event until
its batch is on the disk, so it is enough to wait once, before the spool forgets it. A crash of the machine costs
a repetition, which changes nothing; the file stays consistent in any case (WAL).
"""

from __future__ import annotations

import os
import sqlite3
from pathlib import Path
from typing import Any

_databases: set[str] = set()


def sync_in_batches(database: Path) -> None:
    """From now on this process's connections to `database` leave waiting for the disk to `sync`."""
    from sqlalchemy import event
    from sqlalchemy.engine import Engine

    if not event.contains(Engine, "connect", _on_connect):
        event.listen(Engine, "connect", _on_connect)
    _databases.add(str(database.resolve()))


def _on_connect(connection: Any, _: Any) -> None:
    if not isinstance(connection, sqlite3.Connection):
        return
    path = connection.execute("PRAGMA database_list").fetchone()[2]
    # without WAL a crash of the machine could damage the file
    if (
        path
        and str(Path(path).resolve()) in _databases
        and connection.execute("PRAGMA journal_mode").fetchone()[0] == "wal"
    ):
        connection.execute("PRAGMA synchronous=NORMAL")


def sync(database: Path) -> None:
    """Wait until everything that was committed is on the disk.

    Opens the log of the database only: closing another descriptor of the database itself would drop SQLite's locks.
    """
    try:
        descriptor = os.open(f"{database}-wal", os.O_RDONLY)
    except FileNotFoundError:
        return  # already moved into the database, which SQLite itself has synced
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
