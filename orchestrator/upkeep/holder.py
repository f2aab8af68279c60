"""Whether a sweep exists, who drives it, and how many of its runs are RUNNING: asked without disturbing anybody."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass

from orchestrator.errors import LedgerError
from orchestrator.ledger.mlflow_store import StoreAwayError, WriteRefusedError
from orchestrator.ledger.reading import read_sqlite
from orchestrator.ledger.session import Ledger
from orchestrator.ledger.watching import DriverSight, look_at_driver

_ACTIVE = "from experiments where name = ? and lifecycle_stage = 'active'"
_RUNNING = f"""
select count(*) from runs where lifecycle_stage = 'active' and status = 'RUNNING'
and experiment_id in (select experiment_id {_ACTIVE})
"""


@dataclass(frozen=True)
class Condition:
    """A sweep's ledger, seen from outside."""

    exists: bool
    sight: DriverSight
    running: int
    """MLflow runs in status RUNNING, the cells' and the sweep's own among them."""


def look(ledger: Ledger) -> Condition:
    """Look at the sweep of a ledger that was opened for reading. Creates nothing.

    Raises:
        LedgerError: the store cannot be read.
    """
    running = _running(ledger)
    return Condition(running is not None, look_at_driver(ledger), running or 0)


def _running(ledger: Ledger) -> int | None:
    """Number of RUNNING runs; None where there is no such sweep."""
    database = ledger.location.database
    if database is not None:
        if not database.exists():
            return None
        try:
            return read_sqlite(database, lambda connection: _ask(connection, ledger.sweep_name))
        except sqlite3.Error:
            pass  # another schema, or damage: MLflow's client says what
    store = ledger.reader()
    if store is None:
        return None
    try:
        return len(store.search("attributes.status = 'RUNNING'"))
    except (StoreAwayError, WriteRefusedError) as error:
        raise LedgerError(f"MLflow at {ledger.tracking_uri} cannot be read: {error}") from error


def _ask(connection: sqlite3.Connection, sweep_name: str) -> int | None:
    if connection.execute(f"select 1 {_ACTIVE}", (sweep_name,)).fetchone() is None:
        return None
    return int(connection.execute(_RUNNING, (sweep_name,)).fetchone()[0])
