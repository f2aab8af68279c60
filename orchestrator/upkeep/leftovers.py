"""What in a sweep's folder and storage nothing needs any more, and what is kept, each with the reason."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.ledger.location import DATABASE_NAME, SPOOL_NAME
from orchestrator.ledger.spool import EVENTS_NAME, REFUSED_NAME, read_after, read_committed
from orchestrator.upkeep.known_runs import SUPERSEDED, KnownRuns
from orchestrator.upkeep.storage import DiskStorage, Entry, Storage

DAY_S = 24 * 3600.0
MODEL_FOLDER = "model"
_KEY = re.compile(r"[0-9a-f]{16}")
_ATTEMPT = re.compile(r"attempt-\d+")


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What `gc` may delete beside what nobody can miss."""

    models: bool = False
    unknown: bool = False
    cache: bool = False
    logs: bool = False
    failed: bool = False
    """Checkpoints of failed runs."""
    log_days: int = 30


@dataclass(frozen=True, kw_only=True)
class Item:
    """One file or folder that was judged."""

    kind: str
    storage: Storage
    entry: Entry
    size: int
    deletes: bool
    reason: str

    @property
    def path(self) -> str:
        return self.storage.place(self.entry.path)


def judged(kind: str, storage: Storage, entry: Entry, *, keep: str = "", because: str = "") -> Item:
    """An item with its size: kept for the reason `keep`, or deleted `because` of something."""
    size, _ = storage.measure(entry)
    if entry.kind == "link":
        keep = "a symbolic link: what it points to may be anybody's"
    return Item(kind=kind, storage=storage, entry=entry, size=size, deletes=not keep, reason=keep or because)


def in_storage(storage: Storage, known: KnownRuns, wanted: Wanted, *, is_shared: bool) -> Iterator[Item]:
    """Checkpoints, models, torn files and folders of unknown keys."""
    for entry in storage.entries():
        if not _KEY.fullmatch(entry.name):
            continue
        key = entry.name
        if not known.knows(key):
            yield _unknown(storage, entry, known, wanted)
        elif entry.kind == "folder":
            yield from _of_run(storage, entry, known, wanted, is_shared=is_shared)
        else:
            yield judged("run", storage, entry, keep="not made by the sweep")


def _unknown(storage: Storage, entry: Entry, known: KnownRuns, wanted: Wanted) -> Item:
    keep = ""
    if owner := known.elsewhere.get(entry.name):
        keep = f"a run of sweep {owner}"
    elif not wanted.unknown:
        keep = "this sweep's ledger does not know it; another sweep may share the storage (--unknown deletes it)"
    elif _age_s(storage.measure(entry)[1]) < DAY_S:
        keep = "unknown, but changed within the last day: another sweep may be at work in it"
    return judged("unknown run", storage, entry, keep=keep, because="no ledger that can be seen here knows it")


def _of_run(storage: Storage, folder: Entry, known: KnownRuns, wanted: Wanted, *, is_shared: bool) -> Iterator[Item]:
    key = folder.name
    owner = known.elsewhere.get(key)
    keep = f"also a run of sweep {owner}" if owner else ""
    for entry in storage.entries(folder.path):
        if _ATTEMPT.fullmatch(entry.name):
            open_run = "" if known.is_closed(key) else "its run is not closed: the next start goes on from it"
            if not open_run and known.has_failed(key) and not wanted.failed:
                open_run = "its run failed: `retry` goes on from it (--failed deletes it)"
            fresh = is_shared and _age_s(storage.measure(entry)[1]) < DAY_S
            recent = "changed within the last day, and the storage may be shared" if fresh else ""
            reason = keep or open_run or recent
            yield judged("checkpoint", storage, entry, keep=reason, because=f"its run is {_state(known, key)}")
            if reason and entry.kind == "folder":
                yield from _torn(storage, entry)
        elif entry.name == MODEL_FOLDER:
            reason = keep or known.keeps_model(key) or ("" if wanted.models else "not the best (--models deletes it)")
            yield judged("model", storage, entry, keep=reason, because="not the best final of its cell")
            if reason and entry.kind == "folder":
                yield from _torn(storage, entry)
        else:
            yield from _torn_one(storage, entry)


def _state(known: KnownRuns, key: str) -> str:
    states = sorted({str(slot.state) for slot in known.slots.get(key, ())}) or [known.states.get(key, "closed")]
    return "/".join(states)


def _torn(storage: Storage, folder: Entry) -> Iterator[Item]:
    for entry in storage.entries(folder.path):
        yield from _torn_one(storage, entry)


def _torn_one(storage: Storage, entry: Entry) -> Iterator[Item]:
    if entry.kind == "file" and entry.name.endswith((".part", ".new")):
        young = "" if _age_s(entry.changed) > DAY_S else "younger than a day: it may still be written"
        yield judged("torn file", storage, entry, keep=young, because="a write that never ended, older than a day")


def in_sweep_folder(folder: Path, known: KnownRuns, wanted: Wanted) -> Iterator[Item]:
    """Ray's folders of dead drivers, told spool files, torn files, logs of superseded runs."""
    sweep = DiskStorage(folder)
    for entry in sweep.entries():
        is_store = entry.kind == "file" and entry.name.startswith(f"{DATABASE_NAME}.") and ".new" in entry.name
        if is_store and _age_s(entry.changed) > DAY_S:
            yield judged("torn file", sweep, entry, because="a store that was never finished")
        elif entry.name == "ray" and entry.kind == "folder":
            for session in sweep.entries(entry.path):
                yield judged("Ray session", sweep, session, because="its driver is gone; Ray keeps nothing of use here")
        elif entry.name == SPOOL_NAME and entry.kind == "folder":
            yield from _in_spool(sweep, entry, folder / SPOOL_NAME, wanted)
        elif entry.name == "logs" and entry.kind == "folder":
            yield from _logs(sweep, entry, known, wanted)


def _in_spool(sweep: Storage, spool: Entry, folder: Path, wanted: Wanted) -> Iterator[Item]:
    for entry in sweep.entries(spool.path):
        if entry.name == EVENTS_NAME and entry.size:
            waiting = len(read_after(folder, read_committed(folder)))
            keep = f"{waiting} events in it wait for MLflow (`hsfm-sweep reconcile` tells them)" if waiting else ""
            yield judged("spool", sweep, entry, keep=keep, because="MLflow has everything in it")
        elif entry.name == REFUSED_NAME:
            keep = "what MLflow refused, for a person to read" + (" (--logs deletes it)" if not wanted.logs else "")
            old = wanted.logs and _age_s(entry.changed) > wanted.log_days * DAY_S
            yield judged("spool", sweep, entry, keep="" if old else keep, because=f"older than {wanted.log_days} days")
        else:
            yield from _torn_one(sweep, entry)


def _logs(sweep: Storage, logs: Entry, known: KnownRuns, wanted: Wanted) -> Iterator[Item]:
    for entry in sweep.entries(logs.path):
        key = entry.name.removesuffix(".log")
        if key in known.slots or known.states.get(key) != SUPERSEDED:
            continue
        keep = "" if wanted.logs else "the log of a superseded run (--logs deletes it)"
        if wanted.logs and _age_s(entry.changed) <= wanted.log_days * DAY_S:
            keep = f"the log of a superseded run, not older than {wanted.log_days} days"
        because = f"the log of a superseded run, older than {wanted.log_days} days"
        yield judged("log", sweep, entry, keep=keep, because=because)


def _age_s(changed: float) -> float:
    """Age of a time stamp; one that the store does not say counts as old."""
    return time.time() - changed
