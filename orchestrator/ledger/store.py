"""Opens the ledger of a sweep."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from orchestrator.errors import LedgerError
from orchestrator.ledger.changes import Applier, runs_by_target
from orchestrator.ledger.durability import sync_in_batches
from orchestrator.ledger.lease import LEASE_PREFIX, Driver, Lease, refusal
from orchestrator.ledger.location import StoreLocation, check_usable, resolve_location
from orchestrator.ledger.lock import FolderLock
from orchestrator.ledger.mlflow_store import MlflowStore, StoreAwayError, WriteRefusedError
from orchestrator.ledger.reporting import SWEEP_KEY
from orchestrator.ledger.run_ids import RunIds
from orchestrator.ledger.schema import make_schema
from orchestrator.ledger.session import Driving, Ledger
from orchestrator.ledger.spool import Spool, read_state
from orchestrator.ledger.writer import Writer

__all__ = ["SWEEP_KEY", "Ledger", "open_ledger"]
TAKE_OVER_WAIT_S = 45.0


def open_ledger(
    sweep_dir: Path,
    sweep_name: str,
    *,
    tracking_uri: str | None = None,
    mode: Literal["drive", "read"],
    take_over: bool = False,
) -> Ledger:
    """Open a sweep's ledger, to drive the sweep or to read.

    The store is `tracking_uri`, else MLFLOW_TRACKING_URI, else an SQLite file in `sweep_dir`. A reader takes no lease,
    creates nothing and may read while a driver writes; a sweep that does not exist is an empty ledger.

    Args:
        sweep_dir: the sweep's folder on a local disk; the spool lies in it whatever the store is.
        sweep_name: name of the MLflow experiment.
        tracking_uri: MLflow server (http, https) or database.
        mode: "drive" may write, one driver at a time; "read" never writes.
        take_over: take the sweep from a driver that still holds it; that one stops writing.

    Raises:
        LedgerError: a store that is not supported or does not answer, a folder that cannot be written, or another
            driver at work.
    """
    location = resolve_location(sweep_dir, tracking_uri)
    if mode == "read":
        return Ledger(location, sweep_name)
    if mode != "drive":
        raise LedgerError(f"ledger mode {mode!r} is not known; allowed: 'drive', 'read'")
    check_usable(location)
    with ExitStack() as undo:
        lock = FolderLock(location.spool_dir)
        undo.callback(lock.release)
        locked = lock.acquire(Driver.this("").to_json())
        if not locked and not take_over:
            raise refusal(Driver.from_json(lock.holder()), sweep_name)
        driver = Driver.this(read_state(location.spool_dir).spool_id)
        try:
            ledger = _drive(location, sweep_name, lock, driver, locked=locked, take_over=take_over)
        except (StoreAwayError, WriteRefusedError) as error:
            raise LedgerError(f"MLflow at {location.tracking_uri} cannot be opened: {error}") from error
        undo.pop_all()
        return ledger


def _drive(
    location: StoreLocation, sweep_name: str, lock: FolderLock, driver: Driver, *, locked: bool, take_over: bool
) -> Ledger:
    if location.database is not None and location.artifacts is not None:
        make_schema(location.database, location.artifacts)
        sync_in_batches(location.database)
    store = MlflowStore(location)
    store.make_experiment(sweep_name)
    lease = Lease(store, _sweep_run(store, sweep_name), driver)
    other = lock.holder()
    lease.take(sweep_name, take_over=take_over)
    # A driver that loses its lease notices within seconds and lets go of the folder.
    if not locked and not lock.acquire(driver.to_json(), wait_s=TAKE_OVER_WAIT_S):
        raise LedgerError(
            f"{Driver.from_json(other)} does not let go of {location.spool_dir}, though its lease was taken over; "
            "end that process and start again."
        )
    store.set_status(lease.run_id, "RUNNING", 0)
    driving = _begin(location, store, lock, lease)
    driving.writer.start()
    return Ledger(location, sweep_name, store=store, driving=driving)


def _begin(location: StoreLocation, store: MlflowStore, lock: FolderLock, lease: Lease) -> Driving:
    """Open the spool, sort out what may not be told any more, and find the runs that exist."""
    spool = Spool(location.spool_dir)
    ids = RunIds(location.spool_dir)
    notes = []
    if spool.sweep_run not in ("", lease.run_id):
        count = spool.drop_pending(lambda _: True, "reported for another MLflow store or sweep")
    else:
        # Words of a driver after which another one, elsewhere, has driven the sweep.
        count = spool.drop_pending(lambda e: lease.foreign_since(e.lease), "reported before another driver took over")
    if count:
        notes.append(
            f"{count} events of an older driver were set aside in {location.spool_dir}: the ledger has moved on."
        )
    if not ids.exists or spool.sweep_run != lease.run_id or lease.foreign_since(spool.last_lease):
        ids.replace(runs_by_target(store, ""))
    ids.add({(SWEEP_KEY, SWEEP_KEY): lease.run_id})
    waiting = spool.pending(spool.waiting)
    if waiting:
        notes.append(f"{len(waiting)} events that MLflow had not been told yet were found in the spool and told.")
    spool.begin(lease.number, lease.run_id)
    applier = Applier(store, ids)
    applier.find_created(waiting)
    known = ids.targets() | {(e.data["role"], e.data["id"]) for e in waiting if e.kind in ("cell", "start")}

    def let_go() -> None:
        spool.close()
        lock.release()

    writer = Writer(spool, lease, applier, let_go)
    return Driving(lock=lock, spool=spool, lease=lease, applier=applier, writer=writer, known=known, notes=notes)


def _sweep_run(store: MlflowStore, sweep_name: str) -> str:
    """The sweep's own run, which carries the leases; created where there is none."""
    for attempt in range(2):
        found = store.search("tags.`hsfm.role` = 'sweep'")
        if found:
            # Two drivers may have created one each at the same time: the one with a lease counts, then the older.
            has_lease = [run for run in found if any(key.startswith(LEASE_PREFIX) for key in run.data.params)]
            best = (has_lease or found)[0]
            return str(best.info.run_id)
        if attempt == 0:
            tags = {"hsfm.role": "sweep", "hsfm.key": SWEEP_KEY, "hsfm.state": "running"}
            store.create_run(f"sweep {sweep_name}", tags, int(time.time() * 1000))
    raise LedgerError(
        f"the sweep's own run cannot be found in {store.location.tracking_uri}; is another driver at work?"
    )
