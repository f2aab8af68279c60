"""Every process that a shaken sweep has ever had: an orphan cannot be found by its parent any more."""

from __future__ import annotations

import os
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import psutil

from tests.chaos.command import TOKEN

LOOK_EVERY_S = 0.5
_ROLES = (  # a word of the command line, and what such a process is; the first that fits
    ("gcs_server", "gcs"),
    ("raylet/raylet", "raylet"),
    ("RayTrainWorker", "worker"),
    ("TrainController", "controller"),
    ("ray::Hub", "hub"),
    ("drive_segment", "trial"),
    ("ImplicitFunc", "trial"),
    ("ray::", "ray process"),
    ("ray/_private", "ray service"),
    ("ray/dashboard", "ray service"),
)


@dataclass
class Seen:
    """One process: its number alone could be another's by now."""

    pid: int
    created_s: float
    role: str
    gone_s: float | None = None
    """When it was found to be gone."""

    def is_alive(self) -> bool:
        """Whether this very process lives; one that only waits to be collected by its parent does not."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.created_s and process.status() != psutil.STATUS_ZOMBIE
        except psutil.Error:
            return False

    def __str__(self) -> str:
        return f"{self.role} {self.pid}"


class Roster(threading.Thread):
    """Looks at a command's descendants twice a second, and at whether those it knew still live."""

    def __init__(self, folder: Path, token: str) -> None:
        super().__init__(daemon=True, name="roster")
        self._folder, self._token = str(folder), token
        self._seen: dict[tuple[int, float], Seen] = {}
        self._lock = threading.Lock()
        self._over = threading.Event()
        self.driver_pid = 0

    def run(self) -> None:
        while not self._over.wait(LOOK_EVERY_S):
            self.look()

    def end(self) -> None:
        self._over.set()

    def look(self) -> None:
        """Note new descendants and those that are gone."""
        with self._lock:
            try:
                children = psutil.Process(self.driver_pid).children(recursive=True) if self.driver_pid else []
            except psutil.Error:
                children = []
            for child in children:
                self._note(child)
            for seen in self._seen.values():
                if seen.gone_s is None and not seen.is_alive():
                    seen.gone_s = time.time()

    def _note(self, process: psutil.Process) -> None:
        try:
            if process.status() == psutil.STATUS_ZOMBIE:
                return
            identity = (process.pid, process.create_time())
            role = role_of(" ".join(process.cmdline()))
        except psutil.Error:
            return
        known = self._seen.setdefault(identity, Seen(*identity, role))
        if role != "other":  # a Ray process gets its role after it was started
            known.role = role

    def living(self, role: str = "") -> list[Seen]:
        """Processes that live now, of one role or of all."""
        self.look()
        with self._lock:
            return [s for s in self._seen.values() if s.gone_s is None and role in ("", s.role)]

    def strays(self) -> list[Seen]:
        """Living processes that belong to the sweep by any sign: seen, marked by the environment, or by its folder."""
        found = {(s.pid, s.created_s): s for s in self.living()}
        kin = {os.getpid(), *(p.pid for p in psutil.Process().parents())}
        for process in psutil.process_iter(["pid", "create_time", "cmdline", "environ", "status"]):
            facts = process.info
            if facts["pid"] in kin or facts["status"] == psutil.STATUS_ZOMBIE:
                continue
            line = " ".join(facts["cmdline"] or ())
            if self._folder in line or (facts["environ"] or {}).get(TOKEN) == self._token:
                identity = (facts["pid"], facts["create_time"])
                found.setdefault(identity, Seen(*identity, role_of(line)))
        return sorted(found.values(), key=lambda s: s.pid)


def role_of(command_line: str) -> str:
    """What a process is, by its command line."""
    return next((role for word, role in _ROLES if word in command_line), "other")
