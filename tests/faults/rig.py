"""One small real sweep in a folder of its own: started, watched, disturbed and read through the real command line."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import psutil

from orchestrator.ledger.store import open_ledger
from tests.faults import training_log

PLUGINS = Path(__file__).parent / "plugins"
NAME = "faults"
GRID = """name: faults
strategies: [in_domain/svm_rbf, in_domain/spectral_cnn, in_domain/unet{more}]
datasets: [indian_pines]
label_budgets: [0.1]
seeds: 1
search: {{trials: 2, round: 2}}
train: {{steps: 60, evaluations: 2, patch_size: 24, batch_size: 8, pixel_batch_size: 256, world_size: {world_size}}}
execution: {{groups: 1}}
"""


LEAVING_S = 15.0
"""How long what belongs to a command may outlive it."""


RAY_NOISE = "(raylet)"
"""Ray's own words to a terminal: what it says of a dead worker is no message of this tool."""


class RigError(Exception):
    """The sweep did not do what the injection needs (it never trained, say)."""


class Rig:
    """A sweep of three cells, nine runs, and everything that is known of it from outside."""

    def __init__(self, folder: Path, cache: Path, *, world_size: int = 1, plugins: Sequence[str] = ()) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.folder, self.cache, self.out = folder, cache, folder / "out"
        self.grid = folder / "faults.yaml"
        self.plugins = [folder / f"{name}.py" for name in ("step_probe", *plugins)]
        for plugin in self.plugins:
            shutil.copy(PLUGINS / plugin.name, plugin)
        more = "".join(f", plugin/{name}" for name in plugins)
        self.grid.write_text(GRID.format(more=more, world_size=world_size))
        self.overrides: list[str] = []
        self.tracking_uri = ""
        self.statuses: list[int] = []
        self.process: subprocess.Popen[bytes] | None = None
        self.started_s = 0.0
        self.away_s = 120.0
        self.second_status, self.second_s = -1, 0.0
        self.server: Any = None
        self.noted: list[str] = []
        """What a strike has measured itself."""
        self.spoiled: set[tuple[str, int]] = set()
        self._commands = 0
        self._seen: dict[int, psutil.Process] = {}
        self.seen_before: frozenset[int] = frozenset()
        """Processes that were there before the command that runs now."""
        self._at_end: list[Callable[[], object]] = []

    # ---- the command

    def start(self) -> None:
        """Start the command; its words go to a file."""
        self.seen_before = frozenset(self._seen)
        self.process = self.launch()
        self.started_s = time.time()

    def launch(self) -> subprocess.Popen[bytes]:
        """One more process of the same command."""
        command = [sys.executable, "-m", "orchestrator.cli", "--grid", str(self.grid), "--out", str(self.out)]
        command += [word for plugin in self.plugins for word in ("--plugin", str(plugin))]
        command += ["--tracking-uri", self.tracking_uri] if self.tracking_uri else []
        kept = {k: v for k, v in os.environ.items() if k not in ("MLFLOW_TRACKING_URI", "RAY_ADDRESS")}
        environment = {**kept, "OMP_NUM_THREADS": "1", "HSFM_CACHE": str(self.cache), "COLUMNS": "500"}
        self._commands += 1
        with (self.folder / f"command-{self._commands}.log").open("wb") as log:
            return subprocess.Popen(
                [*command, *self.overrides], stdout=log, stderr=log, env=environment, start_new_session=True
            )

    def finish(self, timeout_s: float = 900) -> int:
        """Wait for the command's end; its status (minus the number of the signal that killed it)."""
        assert self.process is not None
        end = time.time() + timeout_s
        while self.process.poll() is None:
            self._look()
            if time.time() > end:
                self.end_all()
                raise RigError(f"the command did not end within {timeout_s:.0f} s; it last said: {self.said()[-300:]}")
            time.sleep(0.2)
        self.statuses.append(self.process.returncode)
        return self.process.returncode

    def said(self, command: int = 0) -> str:
        """What a command printed; 0 = all of them."""
        numbers = [command] if command else range(1, self._commands + 1)
        return "\n".join((self.folder / f"command-{n}.log").read_text(errors="replace") for n in numbers)

    def find_line(self, pattern: str) -> tuple[str, str]:
        """The first line that names the cause, and where it stood: the terminal, else the log of a run."""
        for text, where in ((self.said(), "terminal"), (self._logs(), "log of the run")):
            for line in text.splitlines():
                plain = self._plain(line)
                if re.search(pattern, plain) and not plain.startswith(RAY_NOISE):
                    return plain, where
        return "", ""

    def _logs(self) -> str:
        files = sorted((self.out / NAME / "logs").glob("*.log"), key=lambda f: f.stat().st_mtime)
        return "\n".join(file.read_text(errors="replace") for file in files)

    def _plain(self, line: str) -> str:
        """Without what belongs to this machine."""
        line = re.sub(r"\x1b\[[0-9;]*m", "", line).strip()
        line = line.replace(str(self.folder), "...")
        return re.sub(rf"\b{re.escape(socket.gethostname())}\b", "HOST", line)

    # ---- what is known of it

    def slots(self) -> dict[str, Any]:
        """All slots by strategy, data set, label budget and slot name, as the ledger holds them."""
        ledger = open_ledger(self.out / NAME, NAME, mode="read", tracking_uri=self.tracking_uri or None)
        factors = ("hsfm.strategy", "hsfm.dataset", "hsfm.label_budget")
        cells = [(" ".join(record.tags[f] for f in factors), record.slots) for record in ledger.cells().values()]
        return {f"{cell} {name}": slot for cell, slots in cells for name, slot in slots.items()}

    def closed(self) -> dict[str, int]:
        """Attempt of every closed slot."""
        if not self.tracking_uri and not (self.out / NAME / "mlflow.db").exists():
            return {}
        return {n: s.attempt for n, s in self.slots().items() if s.is_closed and s.state != "failed"}

    def results(self) -> dict[str, tuple[Any, ...]]:
        """What has to be the same however a sweep went."""
        return {n: (s.key, s.state, s.reached_step, dict(s.scores), dict(s.params)) for n, s in self.slots().items()}

    def lines(self) -> list[training_log.Line]:
        """Every optimiser step and checkpoint so far."""
        return training_log.read_lines(self.folder / "steps")

    def wait_for(self, condition: Callable[[], bool], what: str, timeout_s: float = 600) -> None:
        """Wait while the command runs.

        Raises:
            RigError: the command ended, or the time is over.
        """
        end = time.time() + timeout_s
        while not condition():
            self._look()
            if self.process is None or self.process.poll() is not None:
                raise RigError(f"the command ended before {what}: {self.said()[-600:]}")
            if time.time() > end:
                raise RigError(f"no {what} within {timeout_s:.0f} s")
            time.sleep(0.03)

    def wait_mid_run(self, *, closed: int, unsaved: int, with_checkpoint: bool = False) -> dict[str, int]:
        """Wait until slots are closed and a run has work that no checkpoint holds; attempts of the closed slots."""
        found = self.wait_closed(closed)
        self.processes("")

        def is_between_checkpoints() -> bool:
            return training_log.unsaved_steps(self.lines(), with_checkpoint=with_checkpoint) >= unsaved

        self.wait_for(is_between_checkpoints, "run between two checkpoints")
        return found

    def wait_closed(self, count: int) -> dict[str, int]:
        """Wait until so many slots are closed; their attempts."""
        found: dict[str, int] = {}

        def enough() -> bool:
            found.update(self.closed())
            return len(found) >= count

        self.wait_for(enough, f"{count} closed slots")
        return found

    # ---- its processes

    def processes(self, word: str) -> list[psutil.Process]:
        """Living processes below the command whose command line holds a word, by number; "" looks for new ones."""
        if not word:
            self._look()
        return sorted((p for p in self._seen.values() if word in _command_of(p)), key=lambda p: p.pid)

    def _look(self) -> None:
        """Remember what the command has started: an orphan cannot be found by its parent any more."""
        try:
            for child in psutil.Process(self.process.pid).children(recursive=True) if self.process else ():
                self._seen.setdefault(child.pid, child)
        except psutil.Error:
            return

    def at_end(self, undo: Callable[[], object]) -> None:
        """Have something undone when this sweep is put away."""
        self._at_end.append(undo)

    def end_all(self) -> list[str]:
        """End everything that is left of this sweep; what it was."""
        left = []
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        psutil.wait_procs([p for p in self._seen.values() if _command_of(p)], timeout=LEAVING_S)
        for process in self._seen.values():
            if process.is_running() and _command_of(process):
                left.append(_command_of(process).split()[0])
                process.kill()
        for undo in reversed(self._at_end):
            undo()
        self._at_end.clear()
        return left


def _command_of(process: psutil.Process) -> str:
    try:
        return "" if process.status() == psutil.STATUS_ZOMBIE else " ".join(process.cmdline())
    except psutil.Error:
        return ""
