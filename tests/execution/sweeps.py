"""Real sweeps through the real command, for tests that kill them."""

from __future__ import annotations

import os
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from orchestrator.ledger.store import open_ledger

GRID = """name: {name}
strategies: [in_domain/svm_rbf, in_domain/spectral_cnn, in_domain/unet]
datasets: [indian_pines]
label_budgets: [0.1]
seeds: 2
search: {{trials: 4, round: 4}}
train: {{steps: {steps}, evaluations: 4, patch_size: 16, batch_size: 4, pixel_batch_size: 64, world_size: {world_size}}}
"""


def write_grid(folder: Path, *, name: str = "killed", steps: int = 60, world_size: int = 1) -> Path:
    """A grid of three cells, 18 runs."""
    path = folder / f"{name}.yaml"
    path.write_text(GRID.format(name=name, steps=steps, world_size=world_size))
    return path


def start(grid: Path, out: Path, *overrides: str, environment: dict[str, str] | None = None) -> subprocess.Popen[str]:
    """Start the command in its own process group."""
    command = [sys.executable, "-m", "orchestrator.cli", "--grid", str(grid), "--out", str(out), *overrides]
    given = {**os.environ, "OMP_NUM_THREADS": "1", **(environment or {})}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=given, start_new_session=True
    )


def finish(process: subprocess.Popen[str], timeout_s: float = 240) -> str:
    """Wait for the command; what it printed."""
    try:
        return process.communicate(timeout=timeout_s)[0]
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        raise


def run(grid: Path, out: Path, *overrides: str, environment: dict[str, str] | None = None) -> str:
    """Run the command to its end; it must succeed. Its first line names its process, as Ray's folder does."""
    process = start(grid, out, *overrides, environment=environment)
    text = finish(process)
    assert process.returncode == 0, text
    return f"{process.pid}\n{text}"


def slots(out: Path, name: str) -> dict[str, Any]:
    """All slots of a sweep by strategy, label budget and slot name, as the ledger holds them."""
    records = open_ledger(out / name, name, mode="read").cells()
    return {
        f"{r.tags['hsfm.strategy']} {r.tags['hsfm.label_budget']} {n}": slot
        for r in records.values()
        for n, slot in r.slots.items()
    }


def results(out: Path, name: str) -> dict[str, tuple[Any, ...]]:
    """What has to be the same however a sweep went: key, state, rung and every score of every slot."""
    return {n: (s.key, s.state, s.reached_step, dict(s.scores), dict(s.params)) for n, s in slots(out, name).items()}


def closed(out: Path, name: str) -> dict[str, int]:
    """Attempt of every closed slot."""
    return {n: s.attempt for n, s in slots(out, name).items() if s.is_closed}


def wait_for_closed(process: subprocess.Popen[str], out: Path, name: str, count: int, timeout_s: float = 180) -> None:
    """Wait until so many slots are closed, while the command runs."""
    end = time.time() + timeout_s
    while time.time() < end:
        assert process.poll() is None, process.communicate()[0]
        if (out / name / "mlflow.db").exists() and len(closed(out, name)) >= count:
            return
        time.sleep(0.2)
    raise AssertionError(f"fewer than {count} slots closed within {timeout_s} s")


def kill_driver(process: subprocess.Popen[str]) -> None:
    """kill -9 of the driver alone."""
    os.kill(process.pid, signal.SIGKILL)
    process.wait()


def statuses(out: Path, name: str) -> dict[str, int]:
    """MLflow runs by status."""
    with sqlite3.connect(out / name / "mlflow.db") as connection:
        return dict(connection.execute("select status, count(*) from runs group by status").fetchall())


def worker_pids(process: subprocess.Popen[str]) -> list[int]:
    """Processes of the Ray Train workers that a driver's own cluster runs."""
    import psutil

    own = psutil.Process(process.pid).children(recursive=True)
    found = []
    for child in own:
        try:
            if "RayTrainWorker" in " ".join(child.cmdline()):
                found.append(child.pid)
        except psutil.Error:
            continue
    return sorted(found)


def free_port() -> int:
    """A port on the loopback interface that nobody uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for_port(port: int, timeout_s: float = 120) -> None:
    """Wait until something listens."""
    end = time.time() + timeout_s
    while time.time() < end:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.3)
    raise AssertionError(f"nothing listens on port {port} after {timeout_s} s")


def end_group(process: subprocess.Popen[str]) -> None:
    """End a command and everything it started."""
    os.killpg(process.pid, signal.SIGTERM)
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
