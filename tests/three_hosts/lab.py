"""The lab: a laptop and three hosts on one cable, what the laptop calls, and what goes on in the cluster."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from tests.faults.training_log import Line, read_lines
from tests.three_hosts.cluster_file import cluster, install_commands, write_cluster
from tests.three_hosts.hosts import ROOT, Host, HostError, make_keys, make_network

NAME = "three_hosts"
MEMBERS_MARK = b"members: "
"""Before each line of members.py; Ray prints messages of its own to the same output."""
PROBE = ROOT / "tests" / "faults" / "plugins" / "step_probe.py"
PACKAGES = ("orchestrator", "strategies", "dashboards")


class Lab:
    """Everything below one folder, `world`:

    `shared` is what all hosts share (checkpoints, prepared data, files of the test), `disk` is another disk on every
    host at the same path, `hosts/NAME` is what belongs to one host, `laptop` is the caller's.
    """

    def __init__(self, world: Path, grid: str) -> None:
        self.world, self.shared, self.disk = world, world / "shared", world / "disk"
        self.laptop = world / "laptop"
        for folder in (self.shared, self.disk, self.laptop):
            folder.mkdir()
        self.head = Host(world, "h0", 10, cpus=0)
        self.workers = [Host(world, "h1", 11, cpus=2), Host(world, "h2", 12, cpus=1)]
        self.hosts = [self.head, *self.workers]
        self.grid = self.shared / f"{NAME}.yaml"
        self.grid.write_text(grid)
        self.file = self.laptop / "cluster.yaml"
        self.members: list[dict[str, Any]] = []
        self.storage = self.shared / "checkpoints"

    # ---- before the cluster

    def build_wheel(self) -> Path:
        """The project's wheel, from a copy: a build writes beside its sources."""
        source, target = self.laptop / "source", self.laptop / "wheel"
        source.mkdir()
        for package in PACKAGES:
            shutil.copytree(ROOT / package, source / package, ignore=shutil.ignore_patterns("__pycache__"))
        for name in ("pyproject.toml", "README.md", "LICENSE"):
            shutil.copy(ROOT / name, source)
        words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--no-index", "--no-build-isolation"]
        call([sys.executable, *words, "--disable-pip-version-check", "-w", str(target), str(source)])
        return next(target.glob("*.whl"))

    def build(self, wheel: Path) -> None:
        """Cable, keys, hosts, the file for `ray up`, and the same wheel on the laptop."""
        make_network()
        make_keys(self.world)
        for host in self.hosts:
            host.boot()
        probe = self.laptop / "probe" / PROBE.name
        probe.parent.mkdir()
        shutil.copy(PROBE, probe)
        shutil.copytree(probe.parent, self.disk / "probe")
        for script in ("neighbour.py", "members.py"):
            shutil.copy(ROOT / "tests" / "three_hosts" / script, self.shared)
        write_cluster(self.file, cluster(self.world, wheel, probe, self.head, self.workers))
        for command in install_commands(self.disk, wheel):
            call(["sh", "-c", command])

    # ---- the laptop

    def ray(self, *words: str, log: str) -> subprocess.Popen[bytes]:
        """Call `ray` on the laptop; its output goes to a file."""
        with (self.laptop / f"{log}.log").open("wb") as output:
            return subprocess.Popen(
                [str(self.disk / "env" / "bin" / "ray"), *words],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                env=self.environment(),
            )

    def environment(self) -> dict[str, str]:
        """Of commands on the laptop: nothing of a cluster, of a server or of credentials that the caller may have."""
        kept = {k: os.environ[k] for k in ("HOME", "LANG", "TERM", "HSFM_DATA_ROOT") if k in os.environ}
        path = f"{self.disk}/env/bin:{os.environ.get('PATH', '')}:/usr/sbin:/sbin"
        return {
            **kept,
            "PATH": path,
            "RAY_AUTH_MODE": "disabled",
            "RAY_USAGE_STATS_ENABLED": "0",
            "RAY_worker_niceness": "0",
            # Provider local with the newer autoscaler: workers were seen not to join.
            "RAY_UP_enable_autoscaler_v2": "0",
            "OMP_NUM_THREADS": "1",
            "HSFM_CACHE": str(self.shared / "cache"),
            "COLUMNS": "200",
        }

    def sweep_words(self, *settings: str) -> str:
        """The command of the sweep, the same on the cluster and on one host but for `settings`."""
        probe = self.disk / "probe" / PROBE.name
        words = ["hsfm-sweep", "--grid", str(self.grid), "--out", str(self.disk / "sweeps"), "--plugin", str(probe)]
        return shlex.join([*words, "execution.groups=1", *settings])

    def submit(self, *settings: str, log: str) -> subprocess.Popen[bytes]:
        """`ray exec`: the sweep on the head, as a user of a lab would start it."""
        given = {"RAY_ADDRESS": "auto", "GLOO_SOCKET_IFNAME": "eth0", "HSFM_CACHE": str(self.shared / "cache")}
        if data := os.environ.get("HSFM_DATA_ROOT"):
            given["HSFM_DATA_ROOT"] = data
        variables = " ".join(f"{name}={value}" for name, value in given.items())
        command = self.sweep_words(f"execution.storage_path={self.storage}", *settings)
        return self.ray("exec", str(self.file), f"cd {self.disk} && {variables} {command}", log=log)

    def sweep_alone(self, *settings: str) -> subprocess.Popen[bytes]:
        """The same command on the laptop, whose own processors then are the one host; same wheel, a disk of its own."""
        words = shlex.split(self.sweep_words(*settings))
        words[0] = str(self.disk / "env" / "bin" / words[0])
        with (self.laptop / "one-host.log").open("wb") as output:
            return subprocess.Popen(
                words, cwd=self.disk, stdin=subprocess.DEVNULL, stdout=output, stderr=output, env=self.environment()
            )

    def on_head(self, script: str, *words: str) -> subprocess.Popen[bytes]:
        """Run one of the test's scripts on the head; it ends when its input is closed."""
        python = f"RAY_AUTH_MODE=disabled {self.disk}/env/bin/python"
        command = " ".join([f"cd /; {python}", str(self.shared / script), *words])
        with (self.laptop / f"{script}.log").open("ab") as log:
            return subprocess.Popen(
                self.head.ssh(command),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                env=self.environment(),
            )

    def follow_members(self, tell: Callable[[list[dict[str, Any]]], None]) -> subprocess.Popen[bytes]:
        """Keep `members` up to date, and tell every change."""
        process = self.on_head("members.py")

        def read() -> None:
            assert process.stdout is not None
            for text in process.stdout:
                if text.startswith(MEMBERS_MARK):
                    self.members = json.loads(text.removeprefix(MEMBERS_MARK))
                    tell(self.members)

        threading.Thread(target=read, daemon=True, name="members").start()
        return process

    # ---- what goes on

    def names_of(self, members: Sequence[dict[str, Any]]) -> list[str]:
        names = {host.address: host.name for host in self.hosts}
        return [names[member["address"]] for member in members]

    def lines(self) -> dict[str, list[Line]]:
        """Optimiser steps and checkpoints by host, in the order of time."""
        return {host.name: read_lines(host.disk / "probe" / "steps") for host in self.hosts}

    def sweep(self, where: Path | None = None) -> Path:
        return (where or self.head.disk) / "sweeps" / NAME


def call(words: Sequence[str], limit_s: float = 120) -> None:
    """Run a program that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=limit_s)
    if done.returncode:
        raise HostError(
            f"`{' '.join(words)[:200]}` ended with {done.returncode}: {(done.stderr or done.stdout)[-500:]}"
        )


def wait_until(what: str, is_so: Callable[[], bool], limit_s: float) -> float:
    """Wait for something; how many seconds it took.

    Raises:
        HostError: it did not come about in time.
    """
    began_s = time.monotonic()
    while not is_so():
        if time.monotonic() - began_s > limit_s:
            raise HostError(f"{what}: not within {limit_s:.0f} s")
        time.sleep(0.2)
    return time.monotonic() - began_s
