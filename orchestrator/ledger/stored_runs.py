"""Reads all runs of a sweep at once, straight from the SQLite store where its schema is one that was checked.

MLflow's client takes 3 ms a run and 2 s to be imported; the same answer by SQL takes a tenth of a millisecond a run.
"""

from __future__ import annotations

import math
import sqlite3
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.ledger.reading import read_mlflow_tables

if TYPE_CHECKING:
    from mlflow.entities import Run


@dataclass(frozen=True, kw_only=True)
class StoredRun:
    """An MLflow run as the store has it."""

    run_id: str
    artifact_uri: str
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: dict[str, float] = field(default_factory=dict)


_RUNS = """
select runs.run_uuid, runs.artifact_uri from runs
join experiments on experiments.experiment_id = runs.experiment_id
join tags as role on role.run_uuid = runs.run_uuid and role.key = 'hsfm.role' and role.value = 'run'
where experiments.name = ? and experiments.lifecycle_stage = 'active' and runs.lifecycle_stage = 'active'
"""
_OF_KEY = "and exists (select 1 from tags where run_uuid = runs.run_uuid and key = 'hsfm.key' and value = ?)"
_ORDER = " order by runs.start_time, runs.run_uuid"


def stored_runs(database: Path, sweep_name: str, key: str | None = None) -> list[StoredRun] | None:
    """The sweep's runs, oldest first; None where the file cannot be read this way.

    Args:
        database: the SQLite store.
        sweep_name: name of the MLflow experiment.
        key: only the run with this key.
    """

    def ask(connection: sqlite3.Connection) -> list[StoredRun]:
        given = (sweep_name,) if key is None else (sweep_name, key)
        condition = _RUNS if key is None else _RUNS + _OF_KEY
        chosen = f"select run_uuid from ({condition})"
        found = {
            run_id: StoredRun(run_id=run_id, artifact_uri=uri)
            for run_id, uri in connection.execute(condition + _ORDER, given)
        }
        of_chosen = f"where run_uuid in ({chosen})"
        for run_id, name, value in connection.execute(f"select run_uuid, key, value from tags {of_chosen}", given):
            found[run_id].tags[name] = value
        for run_id, name, value in connection.execute(f"select run_uuid, key, value from params {of_chosen}", given):
            found[run_id].params[name] = value
        metrics = f"select run_uuid, key, value, is_nan from latest_metrics {of_chosen}"
        for run_id, name, value, is_nan in connection.execute(metrics, given):
            found[run_id].metrics[name] = math.nan if is_nan else value
        return list(found.values())

    try:
        return read_mlflow_tables(database, ask)
    except sqlite3.Error:
        return None  # MLflow's client says better what is wrong


def from_client(run: Run) -> StoredRun:
    """The same from MLflow's own entity."""
    data = run.data
    return StoredRun(
        run_id=run.info.run_id,
        artifact_uri=run.info.artifact_uri,
        tags=dict(data.tags),
        params=dict(data.params),
        metrics=dict(data.metrics),
    )
