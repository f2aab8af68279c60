"""Places that a sweep writes to: by writing, reading back and deleting; and whether they have room."""

from __future__ import annotations

import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import unquote, urlparse

from orchestrator.ledger.location import file_system_of, refuse_network_file_system
from orchestrator.upkeep.check_machine import RAY_FULL
from orchestrator.upkeep.findings import Finding, Subject
from orchestrator.upkeep.resources import GIB, disk, existing

REMOTE_LIMIT_S = 4.0
SLOW_SYNC_S = 0.2
LEAST_GIB = 1.0
"""Free space below which a place is told whatever the plan says."""
_PROBE = """
import sys, uuid
from pyarrow import fs
system, root = fs.FileSystem.from_uri(sys.stdin.read())
path = f"{root.rstrip('/')}/.hsfm-doctor-{uuid.uuid4().hex[:8]}"
word = uuid.uuid4().hex.encode()
with system.open_output_stream(path) as stream:
    stream.write(word)
with system.open_input_stream(path) as stream:
    found = stream.read()
system.delete_file(path)
assert found == word, "what was read back is not what was written"
"""


def sweep_folder(subject: Subject) -> Iterator[Finding]:
    """The sweep's folder and its spool: write, sync, read back, delete."""
    place = existing(subject.folder)
    later = "" if place == subject.folder.absolute() else f" (it will be made in {place})"
    problem = write_and_read(place)
    if problem:
        text = f"{subject.folder} cannot be used{later}: {problem}"
        yield Finding("sweep folder", "failure", text, "make it writable (chmod u+w), or name another with --out")
        return
    yield Finding("sweep folder", "ok", f"{subject.folder}: written, read back and deleted{later}")
    spool = existing(subject.folder / "spool")
    seconds = sync_seconds(spool)
    if seconds > SLOW_SYNC_S:
        text = f"one fsync in {spool} takes {seconds:.2f} s; every report of a run waits for one"
        yield Finding("spool", "warning", text, "name a folder on a local disk with --out")
    else:
        yield Finding("spool", "ok", f"one fsync in {spool} takes {seconds * 1000:.1f} ms")


def database_place(subject: Subject) -> Iterator[Finding]:
    """SQLite on a file system that several hosts share loses data."""
    location = subject.location()
    if location.database is None:
        return
    refuse_network_file_system(location.database.parent)  # a LedgerError becomes the finding
    kind = file_system_of(location.database.parent) or "an unknown file system"
    yield Finding("database place", "ok", f"SQLite lies on {kind}")


def checkpoints(subject: Subject) -> Iterator[Finding]:
    """Where checkpoints go, and whether a cluster's nodes could share it."""
    if subject.grid is None:
        return
    address = subject.storage
    local = local_path(address)
    if local is None:
        yield _remote(address)
        return
    place = existing(local)
    problem = write_and_read(place)
    if problem:
        mend = "make it writable, or set execution.storage_path=FOLDER"
        yield Finding("storage", "failure", f"checkpoints go to {address}, which cannot be used: {problem}", mend)
        return
    if os.environ.get("RAY_ADDRESS") and not subject.grid.execution.storage_path:
        text = f"RAY_ADDRESS names a cluster, but checkpoints would go to {address}, which other nodes do not share"
        mend = "execution.storage_path=FOLDER_THAT_ALL_NODES_SHARE (or s3://BUCKET/PREFIX)"
        yield Finding("storage", "warning", text, mend)
        return
    yield Finding("storage", "ok", f"{address}: written, read back and deleted")


def local_path(address: str) -> Path | None:
    """The folder of a local address; None for an object store."""
    if address.startswith("file://"):
        return Path(unquote(urlparse(address).path))
    return None if "://" in address else Path(address)


def _remote(address: str) -> Finding:
    """An object store, in a process of its own: a store that is away would hold us up for minutes."""
    mend = "check the bucket's name, its region and the credentials (AWS_ACCESS_KEY_ID, AWS_PROFILE) of this shell"
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROBE],
            input=address, capture_output=True, text=True, timeout=REMOTE_LIMIT_S, check=False,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Finding("storage", "failure", f"{address} does not answer within {REMOTE_LIMIT_S:g} s", mend)
    if done.returncode:
        said = (done.stderr.strip().splitlines() or ["no word why"])[-1][:400]
        return Finding("storage", "failure", f"{address} cannot be used: {said}", mend)
    return Finding("storage", "ok", f"{address}: written, read back and deleted")


def free_disk(subject: Subject) -> Iterator[Finding]:
    """Free space of every place, against the plan's upper bound for checkpoints and models."""
    wanted_gib = subject.plan().disk_gib if subject.grid else 0.0
    places = {"cache": subject.locations.cache, "Ray's temporary folder": ray_folder()}
    storage = local_path(subject.storage)
    if storage is not None:
        places = {"storage": storage, **places}
    if storage is None or not storage.is_relative_to(subject.folder):
        places = {"sweep folder": subject.folder, **places}
    for name, folder in places.items():
        free, used = disk(folder)
        need = max(LEAST_GIB, wanted_gib if name == "storage" else 0.0)
        text = f"{free / GIB:.1f} GiB free for {folder}"
        if free / GIB < need:
            asks = f"; the plan asks for at most {need:.1f} GiB" if need > LEAST_GIB else ""
            mend = f"{subject.command('gc')} --apply" if subject.grid else "free disk space"
            yield Finding(f"disk: {name}", "failure" if free / GIB < LEAST_GIB else "warning", text + asks, mend)
        elif name.startswith("Ray") and used > RAY_FULL:
            text += f", but {used:.0%} of the disk is used: Ray takes it for full from {RAY_FULL:.0%}"
            yield Finding(f"disk: {name}", "warning", text, "export RAY_TMPDIR=FOLDER_ON_ANOTHER_DISK")
        else:
            yield Finding(f"disk: {name}", "ok", text)


def ray_folder() -> Path:
    """Where Ray puts its sessions."""
    return Path(os.environ.get("RAY_TMPDIR") or os.environ.get("TMPDIR") or "/tmp") / "ray"


def write_and_read(folder: Path) -> str:
    """Write a file, read it back and delete it: what went wrong, "" = nothing."""
    probe = folder / f".hsfm-doctor-{uuid.uuid4().hex[:8]}"
    word = uuid.uuid4().hex
    try:
        probe.write_text(word)
        found = probe.read_text()
    except OSError as error:
        return error.strerror or str(error)
    finally:
        _remove(probe)
    return "" if found == word else "what was read back is not what was written"


def sync_seconds(folder: Path) -> float:
    """Seconds that a small synced write takes.

    Raises:
        OSError: it cannot be written.
    """
    probe = folder / f".hsfm-doctor-{uuid.uuid4().hex[:8]}"
    try:
        with probe.open("wb") as file:
            file.write(b"x" * 4096)
            file.flush()
            began = time.perf_counter()
            os.fsync(file.fileno())
            return time.perf_counter() - began
    finally:
        _remove(probe)


def _remove(probe: Path) -> None:
    try:
        probe.unlink(missing_ok=True)
    except OSError:  # below a file, or a folder that cannot be written: nothing was made
        return
