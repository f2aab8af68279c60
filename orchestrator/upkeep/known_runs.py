"""What the ledger says of every key: whether its run is closed, and whether its model may ever go."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.errors import LedgerError
from orchestrator.ledger.location import DATABASE_SCHEMES, SERVER_SCHEMES, StoreLocation
from orchestrator.ledger.mlflow_store import StoreAwayError, WriteRefusedError
from orchestrator.ledger.queries import list_sweeps
from orchestrator.ledger.reading import read_sqlite
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.ledger.run_ids import RunIds
from orchestrator.ledger.store import Ledger, open_ledger
from orchestrator.ledger.stored_runs import from_client, stored_runs
from orchestrator.plan.planned import Plan

SUPERSEDED = "superseded"
RUNNING = "running"


@dataclass(frozen=True, kw_only=True)
class KnownRuns:
    """All keys of a sweep, and of the sweeps that may share its storage."""

    states: Mapping[str, str]
    """State of every run of this sweep in the ledger, by key."""
    slots: Mapping[str, tuple[SlotRecord, ...]]
    """Slots that a key fills, in all cells."""
    best: Mapping[str, str]
    """Keys of the best finals, with the cell's name: their models are never deleted."""
    open_cells: Mapping[str, str]
    """Keys of finals that a cell which is not done could still choose, with the cell's name."""
    elsewhere: Mapping[str, str] = field(default_factory=dict)
    """Keys that other sweeps of this storage know, with the sweep's name."""

    def knows(self, key: str) -> bool:
        """Whether the key is a run of this sweep."""
        return key in self.slots or key in self.states

    def is_closed(self, key: str) -> bool:
        """Whether no slot goes on with this run."""
        if key in self.slots:
            return all(slot.is_closed for slot in self.slots[key])
        return self.states.get(key, RUNNING) != RUNNING  # no slot names it: its slot has another run now

    def has_failed(self, key: str) -> bool:
        """Whether a slot of the run failed, so that it may be tried again."""
        return any(slot.state == "failed" for slot in self.slots.get(key, ()))

    def keeps_model(self, key: str) -> str:
        """Why the model of a run must stay whatever was asked for; "" where it may go."""
        if key in self.best:
            return f"the best final of {self.best[key]}"
        if key in self.open_cells:
            return f"{self.open_cells[key]} is not done and could still choose it"
        if not self.is_closed(key):
            return "its run is not closed"
        return ""


def known_runs(ledger: Ledger, plan: Plan, others: Mapping[str, str]) -> KnownRuns:
    """Ask the ledger.

    Args:
        ledger: open, in either mode.
        plan: the grid as it stands: says which cells are done.
        others: keys of other sweeps in the same storage; see `keys_of_others`.

    Raises:
        LedgerError: the store does not answer.
    """
    records = ledger.cells()
    done = {cell.cell_id: cell.state == "done" for cell in plan.cells}
    slots: dict[str, tuple[SlotRecord, ...]] = {}
    best: dict[str, str] = {}
    undecided: dict[str, str] = {}
    for record in records.values():
        name = record.tags.get("hsfm.cell_name") or f"cell {record.cell_id}"
        for slot in record.slots.values():
            slots[slot.key] = (*slots.get(slot.key, ()), slot)
        best |= dict.fromkeys(_best_keys(record), name)
        if not _is_done(record, done.get(record.cell_id)):
            undecided |= {s.key: name for s in record.slots.values() if s.slot.startswith("final/")}
    return KnownRuns(states=_run_states(ledger), slots=slots, best=best, open_cells=undecided, elsewhere=dict(others))


def _best_keys(record: CellRecord) -> set[str]:
    """The best final by its scores, and the one that was published as the cell's model."""
    from orchestrator.execution.tallies import MODEL_TAG, best_final

    best = best_final(record.slots)
    return {key for key in (best.key if best else "", record.tags.get(MODEL_TAG, "")) if key}


def _is_done(record: CellRecord, planned_done: bool | None) -> bool:
    """A cell that the grid does not name any more is done where the ledger says so."""
    says_done = record.tags.get("hsfm.state") == "done" if planned_done is None else planned_done
    return says_done and all(slot.is_closed for slot in record.slots.values())


def _run_states(ledger: Ledger) -> dict[str, str]:
    """Slots know only the newest winner's finals; the runs of former ones are found by their tags."""
    database = ledger.location.database
    found = stored_runs(database, ledger.sweep_name) if database is not None and database.exists() else None
    if found is None:
        found = [from_client(run) for run in ledger.search("tags.`hsfm.role` = 'run'")]
    return {run.tags["hsfm.key"]: run.tags.get("hsfm.state", "") for run in found if "hsfm.key" in run.tags}


def check_same_store(ledger: Ledger) -> None:
    """Refuse a store that is not the one which the sweep's folder was driven with: all keys would look unknown.

    Raises:
        LedgerError: it is another one.
    """
    try:
        state = json.loads((ledger.location.spool_dir / "state.json").read_bytes())
        expected = str(state["sweep_run"])
    except (OSError, ValueError, KeyError, TypeError):
        return
    database = ledger.location.database
    if expected and database is not None and database.exists() and _has_run(database, ledger.sweep_name, expected):
        return
    if not expected or ledger.reader() is None:
        return
    if all(run.info.run_id != expected for run in ledger.search("tags.`hsfm.role` = 'sweep'")):
        raise LedgerError(
            f"the sweep in {ledger.location.sweep_dir} was driven with another MLflow store than "
            f"{ledger.tracking_uri}; allowed: its own. Correct --tracking-uri or MLFLOW_TRACKING_URI."
        )


def _has_run(database: Path, sweep_name: str, run_id: str) -> bool:
    """Whether an SQLite store holds a run of a sweep; read without leaving files beside it."""
    query = (
        "select count(*) from runs join experiments on experiments.experiment_id = runs.experiment_id "
        "where runs.run_uuid = ? and experiments.name = ?"
    )
    given = (run_id, sweep_name)
    try:
        return bool(read_sqlite(database, lambda connection: connection.execute(query, given).fetchone()[0]))
    except sqlite3.Error:
        return False  # MLflow's client says better what is wrong


def keys_of_others(sweep_root: Path, own_name: str, own: StoreLocation) -> dict[str, str]:
    """Keys of the other sweeps in the same folder of sweeps and on the same server, with the sweep's name.

    Raises:
        LedgerError: one of their ledgers cannot be read, so it is not known what they need.
    """
    found = list_sweeps(sweep_root)
    if own.tracking_uri.split(":")[0].split("+")[0] in SERVER_SCHEMES + DATABASE_SCHEMES:
        try:
            found += list_sweeps(own.tracking_uri)
        except (StoreAwayError, WriteRefusedError) as error:
            raise LedgerError(f"MLflow at {own.tracking_uri} cannot be read: {error}") from error
    keys: dict[str, str] = {}
    for sweep in found:
        if (sweep.name, sweep.tracking_uri) == (own_name, own.tracking_uri):
            continue
        folder = sweep.sweep_dir or sweep_root / sweep.name
        cells = open_ledger(folder, sweep.name, tracking_uri=sweep.tracking_uri, mode="read").cells()
        keys |= dict.fromkeys(_all_keys(cells.values()), sweep.name)
        keys |= {key: sweep.name for role, key in RunIds(folder / "spool").targets() if role == "run"}
    return keys


def _all_keys(records: Iterable[CellRecord]) -> set[str]:
    return {slot.key for record in records for slot in record.slots.values()}
