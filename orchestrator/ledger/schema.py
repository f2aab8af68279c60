"""Makes the SQLite store of a sweep: once, by the driver, before anything else opens it."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from orchestrator.errors import LedgerError
from orchestrator.ledger.environment import quiet_mlflow


def make_schema(database: Path, artifacts: Path) -> bool:
    """Create MLflow's tables in a new SQLite file in WAL mode; False where the file is there already.

    The file is made under another name (about 5 s) and put in place at the end: a kill leaves no half-made store.
    In WAL mode readers, such as the MLflow UI, do not hold up the writer.

    Raises:
        LedgerError: the folder cannot be written, or the file system does not support WAL.
    """
    if database.exists():
        _use_wal(database)
        return False
    quiet_mlflow()
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore

    for old in database.parent.glob(f"{database.name}.*.new*"):
        old.unlink(missing_ok=True)
    temporary = database.with_name(f"{database.name}.{os.getpid()}.new")
    store = SqlAlchemyStore(f"sqlite:///{temporary}", str(artifacts))  # type: ignore[no-untyped-call]
    store.engine.dispose()
    mode = _use_wal(temporary)
    if mode != "wal":
        raise LedgerError(
            f"SQLite cannot use its WAL mode in {database.parent} (it stays in mode {mode!r}); choose a folder on a "
            "local disk, or start `mlflow server` and set MLFLOW_TRACKING_URI to its address."
        )
    temporary.replace(database)
    return True


def _use_wal(database: Path) -> str:
    """Switch to WAL where possible (a reader of an old-mode file may be in the way) and return the mode."""
    with closing(sqlite3.connect(database, timeout=5)) as connection:
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError:
            return str(connection.execute("PRAGMA journal_mode").fetchone()[0])
