"""Faults of what a sweep writes to: MLflow away or locked, disks full."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from tests.execution.sweeps import free_port
from tests.faults.fault import Fault
from tests.faults.rig import NAME, Rig, RigError
from tests.faults.rows import Row

LOCKED_S = 60.0
DISK_MIB = 96


class Server:
    """A real `mlflow server` on the loopback interface, with an SQLite file."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir()
        self._folder, self._port = folder, free_port()
        self.uri = f"http://127.0.0.1:{self._port}"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        words = ["--host", "127.0.0.1", "--port", str(self._port), "--workers", "1"]
        words += ["--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        words += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            command = [sys.executable, "-m", "mlflow", "server", *words]
            self._process = subprocess.Popen(command, stdout=log, stderr=log, cwd=self._folder, start_new_session=True)
        for _ in range(1500):
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        raise RigError(f"the MLflow server did not start: {(self._folder / 'server.log').read_text()[-500:]}")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


def _serve(rig: Rig) -> None:
    rig.server = Server(rig.folder / "server")
    rig.server.start()
    rig.at_end(rig.server.kill)
    rig.tracking_uri = rig.server.uri


def _take_server_away(rig: Rig) -> None:
    assert rig.server is not None
    began = time.time()
    rig.server.kill()
    time.sleep(rig.away_s)
    rig.server.start()
    _note_work_meanwhile(rig, began)


def _lock_database(rig: Rig) -> None:
    began = time.time()
    connection = sqlite3.connect(rig.out / NAME / "mlflow.db", isolation_level=None, timeout=60)
    try:
        connection.execute("BEGIN EXCLUSIVE")
        time.sleep(LOCKED_S)
        connection.execute("ROLLBACK")
    finally:
        connection.close()
    _note_work_meanwhile(rig, began)


def _note_work_meanwhile(rig: Rig, began: float) -> None:
    """How much was trained while the ledger could not be written."""
    steps = sum(line.kind == "step" and line.rank == 0 and line.time_s > began for line in rig.lines())
    rig.noted.append(f"Optimiser steps made during the {time.time() - began:.0f} s of the fault: {steps}.")


def _tell_notes(rig: Rig, row: Row) -> None:
    row.notes += rig.noted


def _tell_how_long(rig: Rig, row: Row) -> None:
    row.title = f"{row.title} for {rig.away_s:.0f} s"
    _tell_notes(rig, row)


def _is_not_root() -> str:
    return "" if os.geteuid() == 0 else "needs root, to mount a small file system"


def _mount(rig: Rig, folder: Path) -> None:
    folder.mkdir()
    words = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m,mode=700", "tmpfs", str(folder)]
    subprocess.run(words, check=True)
    rig.at_end(lambda: subprocess.run(["umount", "--lazy", str(folder)], check=True))


def _fill(folder: Path) -> None:
    """Not a byte is left."""
    with (folder / "ballast").open("wb", buffering=0) as ballast:
        for size in (2**20, 2**12, 1):
            try:
                while ballast.write(b"\0" * size) == size:
                    pass
            except OSError:
                continue


def _storage_on_small_disk(rig: Rig) -> None:
    _mount(rig, rig.folder / "disk")
    rig.overrides = [f"execution.storage_path={rig.folder / 'disk'}"]


def _sweep_on_small_disk(rig: Rig) -> None:
    """Everything of the sweep but its checkpoints: ledger, spool, logs."""
    _mount(rig, rig.out)
    rig.overrides = [f"execution.storage_path={rig.folder / 'checkpoints'}"]


FAULTS = (
    Fault(
        name="mlflow-away",
        title="MLflow away",
        how="a real `mlflow server` on the loopback interface, killed in the middle of a run and started again later",
        told=r"MLflow .*(cannot be written|does not answer|away)",
        prepare=_serve,
        strike=_take_server_away,
        check=_tell_how_long,
    ),
    Fault(
        name="mlflow-locked",
        title="MLflow's database locked",
        how=f"another process holds BEGIN EXCLUSIVE on the sweep's mlflow.db for {LOCKED_S:.0f} s",
        told=r"MLflow .*(cannot be written|locked)|database is locked",
        strike=_lock_database,
        check=_tell_notes,
    ),
    Fault(
        name="storage-full",
        title="disk full on storage",
        how="execution.storage_path on a small tmpfs that is filled to the last byte in a run; then space is freed",
        told=r"No space left",
        prepare=_storage_on_small_disk,
        strike=lambda rig: _fill(rig.folder / "disk"),
        mend=lambda rig: (rig.folder / "disk" / "ballast").unlink(),
        ends=(0, 1),
        cannot=_is_not_root,
    ),
    Fault(
        name="sweep-folder-full",
        title="disk full on the sweep's folder",
        how="the sweep's folder on a small tmpfs that is filled to the last byte in a run; then space is freed",
        told=r"spool .* No space left",
        prepare=_sweep_on_small_disk,
        strike=lambda rig: _fill(rig.out),
        mend=lambda rig: (rig.out / "ballast").unlink(),
        ends=(1, 2),
        cannot=_is_not_root,
    ),
)
