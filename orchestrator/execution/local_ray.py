"""The processes of the Ray that this driver started on this machine: are they alive, and their end."""

from __future__ import annotations

import contextlib
import os
import signal

import psutil

_VITAL = ("gcs_server", "raylet")
_BETWEEN_LOOKS_AT_ALL_S = 3


class LocalRay:
    """Ray's own server processes, and everything that descends from this driver.

    A driver is not told when its raylet or GCS dies: it would wait for ever. And what a raylet has started outlives
    it for a while, so all descendants are remembered while their parents live.
    """

    def __init__(self) -> None:
        self._own = psutil.Process()
        self._vital = {
            name: process for process in self._own.children(recursive=True) if (name := _name(process)) in _VITAL
        }
        self._known: dict[int, psutil.Process] = {}
        self._looks = 0

    def missing(self) -> str:
        """Which server process is gone, in words; "" while all are there."""
        if self._looks % _BETWEEN_LOOKS_AT_ALL_S == 0:
            self._known |= {process.pid: process for process in self._own.children(recursive=True)}
        self._looks += 1
        gone = [f"{name} (process {process.pid})" for name, process in self._vital.items() if not _lives(process)]
        return " and ".join(gone)

    def end_all(self) -> None:
        """Kill whatever is left of this Ray, orphans included."""
        with contextlib.suppress(psutil.Error):
            self._known |= {process.pid: process for process in self._own.children(recursive=True)}
        for process in self._known.values():
            if _lives(process):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        psutil.wait_procs(list(self._known.values()), timeout=10)


def kill_here(pid: int) -> None:
    """SIGKILL a process of this machine; one that is gone already is fine."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def _name(process: psutil.Process) -> str:
    try:
        return str(process.name())
    except psutil.Error:
        return ""


def _lives(process: psutil.Process) -> bool:
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.Error:
        return False
