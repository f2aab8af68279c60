"""What a sweep has produced: one row a run, and which sweeps there are."""

from __future__ import annotations

import json
import re
import sqlite3
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlparse

from orchestrator.errors import LedgerError
from orchestrator.ledger.location import DATABASE_NAME, StoreLocation, resolve_location
from orchestrator.ledger.mlflow_store import SWEEP_TAG, MlflowStore, StoreAwayError, WriteRefusedError, sorted_errors
from orchestrator.ledger.reading import read_sqlite
from orchestrator.ledger.records import RunRow
from orchestrator.ledger.session import Ledger
from orchestrator.ledger.stored_runs import StoredRun, from_client, stored_runs

EVALUATION = "evaluation.json"
_DOWNLOADS_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class SweepInfo:
    """A sweep that exists."""

    name: str
    tracking_uri: str
    sweep_dir: Path | None
    """Its folder, where it has one here."""


def run_rows(source: Ledger | tuple[str, str], *, key: str | None = None) -> list[RunRow]:
    """All runs of a sweep, oldest first, with `evaluation.json` of the final ones.

    Args:
        source: an open ledger (one that drives is flushed first), or (tracking URI, experiment name).
        key: only the run with this key.

    Raises:
        LedgerError: the store or an artifact cannot be read.
    """
    if isinstance(source, Ledger):
        if source.is_driving:
            source.flush()
        location, name = source.location, source.sweep_name
    else:
        location, name = resolve_location(Path.cwd(), source[0]), source[1]
    if key is not None and not re.fullmatch(r"[0-9a-f]+", key):
        return []  # no key; and a quote in it would end the filter's text
    if (rows := _rows_from_file(location, name, key)) is not None:
        return rows
    if isinstance(source, Ledger):
        store = source.reader()
    elif location.database is None or location.database.exists():
        opened = MlflowStore(location)
        store = opened if opened.find_experiment(name) else None
    else:
        store = None
    return [] if store is None else _rows_from_client(store, key)


def _rows_from_file(location: StoreLocation, sweep_name: str, key: str | None) -> list[RunRow] | None:
    """None where the store or an artifact has to be read by MLflow's client."""
    if location.database is None or not location.database.exists():
        return None
    runs = stored_runs(location.database, sweep_name, key)
    folders = {run.run_id: _local_artifacts(location, run) for run in runs or () if _has_evaluation(run)}
    if not runs or None in folders.values():
        return None
    return [_row(run, _evaluation_in(folders.get(run.run_id), run)) for run in runs]


def _rows_from_client(store: MlflowStore, key: str | None) -> list[RunRow]:
    condition = "tags.`hsfm.role` = 'run'"
    try:
        found = store.search(condition if key is None else f"{condition} and tags.`hsfm.key` = '{key}'")
        runs = [from_client(run) for run in found]
        evaluated = [run for run in runs if _has_evaluation(run)]
        with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
            read = pool.map(lambda run: _evaluation(store, run), evaluated)
            evaluations = dict(zip((run.run_id for run in evaluated), read, strict=True))
        return [_row(run, evaluations.get(run.run_id)) for run in runs]
    except (StoreAwayError, WriteRefusedError) as error:
        raise LedgerError(f"MLflow at {store.location.tracking_uri} cannot be read: {error}") from error


def _row(run: StoredRun, evaluation: dict[str, Any] | None) -> RunRow:
    tags = run.tags
    return RunRow(
        run_id=run.run_id,
        key=tags.get("hsfm.key", ""),
        cell_id=tags.get("hsfm.cell", ""),
        slots=tuple(filter(None, tags.get("hsfm.slots", "").split(","))),
        stage=tags.get("hsfm.stage", ""),
        state=tags.get("hsfm.state", ""),
        tags=tags,
        params=run.params,
        metrics=run.metrics,
        evaluation=evaluation,
    )


def _has_evaluation(run: StoredRun) -> bool:
    return run.tags.get("hsfm.stage") == "final" and run.tags.get("hsfm.state") in ("finished", "superseded")


def _evaluation(store: MlflowStore, run: StoredRun) -> dict[str, Any] | None:
    """The artifact, read from the disk where it lies there; None where the run has none."""
    local = _local_artifacts(store.location, run)
    if local is not None:
        return _evaluation_in(local, run)
    with sorted_errors():
        if not any(item.path == EVALUATION for item in store.client.list_artifacts(run.run_id)):
            return None
        return _parsed(Path(store.client.download_artifacts(run.run_id, EVALUATION)).read_text(), run)


def _evaluation_in(artifacts: Path | None, run: StoredRun) -> dict[str, Any] | None:
    path = artifacts / EVALUATION if artifacts else None
    return _parsed(path.read_text(), run) if path and path.exists() else None


def _parsed(text: str, run: StoredRun) -> dict[str, Any]:
    try:
        data = json.loads(text)
    except ValueError as error:
        raise LedgerError(f"{EVALUATION} of run {run.run_id} is damaged: {error}; `retry` makes it anew.") from error
    return dict(data)


def _local_artifacts(location: StoreLocation, run: StoredRun) -> Path | None:
    uri = run.artifact_uri
    if urlparse(uri).scheme not in ("", "file"):
        return None
    path = Path(unquote(urlparse(uri).path)) if uri.startswith("file:") else Path(uri)
    if not path.exists() and location.artifacts is not None:
        # The sweep's folder was moved: MLflow remembers the old place, the files lie beside the database.
        return location.artifacts / run.run_id / "artifacts"
    return path


def list_sweeps(where: Path | str) -> list[SweepInfo]:
    """The sweeps below a folder (one folder each), or those of a server.

    Args:
        where: the folder that holds the sweeps' folders, or a tracking URI.
    """
    if isinstance(where, str) and "://" in where:
        store = MlflowStore(resolve_location(Path.cwd(), where))
        with sorted_errors():
            found = store.client.search_experiments(filter_string=f"tags.`{SWEEP_TAG}` = 'true'")
        return [SweepInfo(name=e.name, tracking_uri=store.location.tracking_uri, sweep_dir=None) for e in found]
    sweeps = []
    for database in sorted(Path(where).glob(f"*/{DATABASE_NAME}")):
        location = StoreLocation(sweep_dir=database.parent.resolve(), tracking_uri=f"sqlite:///{database.resolve()}")
        for name in _experiments(database):
            sweeps.append(SweepInfo(name=name, tracking_uri=location.tracking_uri, sweep_dir=location.sweep_dir))
    return sweeps


def _experiments(database: Path) -> list[str]:
    query = (
        "select e.name from experiments e join experiment_tags t on t.experiment_id = e.experiment_id "
        "where t.key = ? and e.lifecycle_stage = 'active' order by e.name"
    )
    try:
        return read_sqlite(database, lambda connection: [row[0] for row in connection.execute(query, (SWEEP_TAG,))])
    except sqlite3.Error as error:
        raise LedgerError(f"{database} cannot be read: {error}") from error
