"""Reads what is done: the cells' runs, with the finished slots on them, in one go.

The SQLite store is read directly where its schema is one that was checked against MLflow's client: importing mlflow
and opening its store takes 2 s, the same answer by SQL takes milliseconds. Any other schema goes through the client.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping
from pathlib import Path

from orchestrator.errors import LedgerError
from orchestrator.ledger.limits import SLOT_PREFIX, slot_from_tag
from orchestrator.ledger.reading import read_mlflow_tables
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.ledger.spool import Event

_PARENTS = """
select tags.run_uuid, tags.key, tags.value from tags
join runs on runs.run_uuid = tags.run_uuid
join experiments on experiments.experiment_id = runs.experiment_id
join tags as role on role.run_uuid = runs.run_uuid and role.key = 'hsfm.role' and role.value = 'cell'
where experiments.name = ? and experiments.lifecycle_stage = 'active' and runs.lifecycle_stage = 'active'
order by runs.start_time, runs.run_uuid
"""


def parents_from_sqlite(database: Path, sweep_name: str) -> list[dict[str, str]] | None:
    """Tags of each cell's run; None where the schema was not checked or the file cannot be read this way.

    Raises:
        LedgerError: the file is damaged, or no SQLite database.
    """
    try:
        rows = read_mlflow_tables(database, lambda connection: connection.execute(_PARENTS, (sweep_name,)).fetchall())
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
            raise LedgerError(
                f"the ledger {database} cannot be read ({error}); expected the SQLite database of this sweep. Put a "
                "copy of it back, or move it away (or name another --out) to start the sweep anew."
            ) from error
        return None
    if rows is None:
        return None
    runs: dict[str, dict[str, str]] = {}
    for run_id, key, value in rows:
        runs.setdefault(run_id, {})[key] = value
    return list(runs.values())


def cell_records(parents: Iterable[Mapping[str, str]], untold: Iterable[Event] = ()) -> dict[str, CellRecord]:
    """Cells by id, from their runs' tags, with the events that MLflow has not been told yet laid over them."""
    tags_by_cell: dict[str, dict[str, str]] = {}
    for tags in parents:
        if tags.get("hsfm.cell"):
            tags_by_cell.setdefault(tags["hsfm.cell"], {}).update(tags)
    for event in untold:
        data = event.data
        if data.get("role") != "cell":
            continue
        tags = tags_by_cell.setdefault(data["id"], {})
        tags.update(data.get("tags", {}))
        if event.kind == "slot":
            tags[data["tag"]] = data["record"]
    return {cell_id: _record(cell_id, tags) for cell_id, tags in tags_by_cell.items()}


def _record(cell_id: str, tags: Mapping[str, str]) -> CellRecord:
    slots: dict[str, SlotRecord] = {}
    for key, value in tags.items():
        if key.startswith(SLOT_PREFIX):
            try:
                slots[key[len(SLOT_PREFIX) :]] = slot_from_tag(value)
            except (ValueError, TypeError, AttributeError) as error:
                raise LedgerError(
                    f"tag {key!r} of cell {cell_id} in MLflow cannot be read ({error}); it holds a slot's record in "
                    "JSON. Was it edited? Delete the tag: the slot's run is then taken as missing."
                ) from error
    others = {key: value for key, value in tags.items() if not key.startswith(SLOT_PREFIX)}
    return CellRecord(cell_id=cell_id, slots=slots, tags=others)
