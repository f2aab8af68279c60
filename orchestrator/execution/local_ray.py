"""The processes of the Ray that this driver started on this machine: are they alive, and their end."""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Collection

import psutil

_VITAL = ("gcs_server", "raylet")
_LOOKS_A_SEARCH = 3
"""Every so many looks new processes are searched for: that reads the whole process table."""


class LocalRay:
    """Ray's own server processes, and everything that descends from them.

    A driver is not told when its raylet or GCS dies: it would wait for ever. And what a raylet has started outlives
    it for a while, so all descendants are remembered while their parents live. Other children of this process (a
    notebook's servers, the shell of the last words) are not Ray's and are spared.
    """

    def __init__(self, before: Collection[psutil.Process]) -> None:
        """`before`: what `own_children` gave before Ray was started; whatever came since is Ray's."""
        self._roots = [process for process in own_children() if process not in before]
        self._vital = {name: process for process in self._descendants() if (name := _name(process)) in _VITAL}
        self._known: dict[int, psutil.Process] = {}
        self._looks = 0

    def missing(self) -> str:
        """Which server process is gone, in words; "" while all are there."""
        if self._looks % _LOOKS_A_SEARCH == 0:
            self._known |= {process.pid: process for process in self._descendants()}
        self._looks += 1
        gone = [f"{name} (process {process.pid})" for name, process in self._vital.items() if not _lives(process)]
        return " and ".join(gone)

    def end_all(self) -> None:
        """Kill whatever is left of this Ray, orphans included."""
        self._known |= {process.pid: process for process in self._descendants()}
        for process in self._known.values():
            if _lives(process):
                with contextlib.suppress(psutil.Error):
                    process.kill()
        psutil.wait_procs(list(self._known.values()), timeout=10)

    def _descendants(self) -> list[psutil.Process]:
        """Ray's first processes and all below them that can be found by their parents."""
        found = []
        for root in self._roots:
            found.append(root)
            with contextlib.suppress(psutil.Error):
                found += root.children(recursive=True)
        return found


def own_children() -> list[psutil.Process]:
    """The processes that this one has started itself."""
    return psutil.Process().children()


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
