"""Ends the runs that are RUNNING in MLflow and should not be. Nothing is ever deleted."""

from __future__ import annotations

import time
from collections.abc import Mapping, Set
from typing import TYPE_CHECKING

from orchestrator.errors import LedgerError
from orchestrator.ledger.mlflow_store import MlflowStore, StoreAwayError, WriteRefusedError
from orchestrator.ledger.records import CellRecord
from orchestrator.ledger.run_ids import Target

if TYPE_CHECKING:
    from mlflow.entities import Run

    from orchestrator.ledger.session import Driving

_RUN_STATUS = {"finished": "FINISHED", "superseded": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
_UNDECIDED = ("", "running", "done")


def cell_status(record: CellRecord | None) -> str:
    """How a cell's run ends when its driver stops working on it."""
    state = record.tags.get("hsfm.state", "") if record else ""
    if state == "failed":
        return "FAILED"
    all_closed = record is not None and all(slot.is_closed for slot in record.slots.values())
    if state in _UNDECIDED and record is not None and record.slots and all_closed:
        return "FINISHED"
    return "KILLED"


def close_running(
    store: MlflowStore, driving: Driving, cells: Mapping[str, CellRecord], touched: Set[Target], *, ending: bool
) -> list[str]:
    """End what is RUNNING: everything where the driver is `ending`, else what was not touched by this driver.

    Returns:
        What was done, one sentence each.

    Raises:
        LedgerError: the store does not answer, or another driver has taken over.
    """
    try:
        driving.lease.check()
        running = store.search("attributes.status = 'RUNNING'")
        by_key = {slot.key: slot.state for cell in cells.values() for slot in cell.slots.values()}
        done = []
        for run in running:
            role, name = run.data.tags.get("hsfm.role", ""), run.data.tags.get("hsfm.key", "")
            if role == "run" and (role, name) not in touched:
                done.append(_end_run(store, driving, run, by_key.get(name, "running")))
            elif role == "cell" and (role, name) not in touched:
                done.append(_end(store, driving, run, cell_status(cells.get(name))))
            elif role == "sweep" and (ending or run.info.run_id != driving.lease.run_id):
                whole = bool(cells) and all(cell_status(cell) == "FINISHED" for cell in cells.values())
                done.append(_end(store, driving, run, "FINISHED" if whole else "KILLED"))
        return done
    except (StoreAwayError, WriteRefusedError) as error:
        raise LedgerError(f"MLflow at {store.location.tracking_uri} cannot be put in order: {error}") from error


def _end_run(store: MlflowStore, driving: Driving, run: Run, slot_state: str) -> str:
    if slot_state in _RUN_STATUS:
        store.log(run.info.run_id, {"hsfm.state": slot_state})
        return _end(store, driving, run, _RUN_STATUS[slot_state])
    store.log(run.info.run_id, {"hsfm.state": "interrupted", "hsfm.stop_reason": "interrupted"})
    return _end(store, driving, run, "KILLED", " (interrupted; it goes on where its slot is run again)")


def _end(store: MlflowStore, driving: Driving, run: Run, status: str, remark: str = "") -> str:
    store.set_status(run.info.run_id, status, int(time.time() * 1000))
    driving.applier.note_status(run.info.run_id, status)
    what = {"run": "run", "cell": "cell", "sweep": "the sweep's own run"}[run.data.tags["hsfm.role"]]
    return f"{what} {run.info.run_name!r} was left RUNNING; it is {status} now{remark}."
