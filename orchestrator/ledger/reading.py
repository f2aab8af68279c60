"""Reads an SQLite store without leaving a trace: no lock that a writer would wait for, and no file beside it."""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import TypeVar

T = TypeVar("T")

CHECKED_SCHEMAS = frozenset({"dc11669786a5"})
"""Alembic revisions whose tables mean what the ledger's own queries take them to mean."""
WAIT_S = 20
_JOURNALS = ("-wal", "-journal")


def read_sqlite(database: Path, ask: Callable[[sqlite3.Connection], T]) -> T:
    """What `ask` answers on a connection that cannot write.

    A reader of a WAL database creates `-wal` and `-shm` files where there are none, and cannot remove them again. So a
    database that nobody has open is read as if it could not change; where somebody opened it meanwhile, the answer is
    thrown away and asked for again in the usual way, which waits for nobody.

    Raises:
        sqlite3.Error: the file is damaged, no database, or locked for long.
    """
    before = _stamp(database)
    if before is not None:
        try:
            answer = _ask(database, ask, "mode=ro&immutable=1")
        except sqlite3.Error:
            if _stamp(database) == before:
                raise
        else:
            if _stamp(database) == before:
                return answer
    # A folder that we may only read: there, WAL files cannot be made.
    may_create = os.access(database.parent, os.W_OK) or _has_journal(database)
    return _ask(database, ask, "mode=ro" if may_create else "mode=ro&immutable=1")


def read_mlflow_tables(database: Path, ask: Callable[[sqlite3.Connection], T]) -> T | None:
    """What `ask` answers of an MLflow store whose schema was checked; None for any other: ask MLflow's client.

    Raises:
        sqlite3.Error: the file is damaged, no database, or locked for long.
    """

    def ask_if_checked(connection: sqlite3.Connection) -> T | None:
        revisions = {row[0] for row in connection.execute("select version_num from alembic_version")}
        return ask(connection) if len(revisions) == 1 and revisions <= CHECKED_SCHEMAS else None

    return read_sqlite(database, ask_if_checked)


def _ask(database: Path, ask: Callable[[sqlite3.Connection], T], options: str) -> T:
    address = f"{database.resolve().as_uri()}?{options}"
    with closing(sqlite3.connect(address, uri=True, timeout=WAIT_S)) as connection:
        connection.execute("begin")  # all queries of one answer see one state, whatever a driver writes meanwhile
        return ask(connection)


def _has_journal(database: Path) -> bool:
    return any(database.with_name(database.name + end).exists() for end in _JOURNALS)


def _stamp(database: Path) -> tuple[int, int, int] | None:
    """What tells that nobody wrote in between; None while somebody has the database open."""
    if _has_journal(database):
        return None
    try:
        found = database.stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns
