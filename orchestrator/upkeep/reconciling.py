"""Brings a sweep's ledger in order without running anything: tells the spool, closes what was left RUNNING."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ConfigError
from orchestrator.ledger.store import open_ledger
from orchestrator.upkeep.holder import look


@dataclass(frozen=True, kw_only=True)
class Reconciled:
    """What was put in order."""

    sentences: tuple[str, ...]
    """What was done; empty where there was nothing to do."""
    events_told: int
    runs_closed: int
    """MLflow runs that were RUNNING, the cells' and the sweep's own among them."""
    open_slots: int
    """Slots that the next run of the sweep goes on with."""


def reconcile_sweep(folder: Path, name: str, tracking_uri: str | None, *, take_over: bool = False) -> Reconciled:
    """Open the ledger as a driver, tell MLflow what waits in the spool, end what is RUNNING, and let go again.

    Args:
        folder: the sweep's folder.
        name: its name, which is the MLflow experiment's.
        tracking_uri: MLflow store; None = the sweep's own.
        take_over: take the sweep from a driver that still holds it; that one stops writing.

    Raises:
        ConfigError: there is no such sweep; nothing was created.
        LedgerError: another driver holds it, or the store does not answer.
    """
    reader = open_ledger(folder, name, tracking_uri=tracking_uri, mode="read")
    before = look(reader)
    if not before.exists:
        raise ConfigError(
            f"there is no sweep {name!r} in {folder}; allowed: a sweep that was started; name its folder of sweeps "
            "with --out and its store with --tracking-uri, or start it with `hsfm-sweep --grid NAME`"
        )
    sight, done = before.sight, []
    if sight.ending == "died":
        done.append(f"the last driver, {sight.driver}, is gone without letting go; its lease is over.")
    ledger = open_ledger(folder, name, tracking_uri=tracking_uri, mode="drive", take_over=take_over)
    try:
        if sight.is_at_work:
            done.append(f"the sweep was taken over from {sight.driver}, which stops writing.")
        closed = ledger.reconcile()
        refused = ledger.problems
        records = ledger.cells()
    finally:
        ledger.close()
    done += closed
    # the sweep's own run is RUNNING again while this ledger is open, and ended by closing it
    if before.running > sum("left RUNNING" in sentence for sentence in closed):
        done.append("the sweep's own run was left RUNNING; it is ended now.")
    done += [f"{problem}; it is kept in {reader.location.spool_dir}." for problem in refused]
    return Reconciled(
        sentences=tuple(done),
        events_told=max(0, sight.events_waiting - len(refused)),
        runs_closed=before.running,
        open_slots=sum(not slot.is_closed for record in records.values() for slot in record.slots.values()),
    )
