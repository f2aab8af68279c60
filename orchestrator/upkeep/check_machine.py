"""The machine: CPUs, memory, GPUs, threads, shared memory, files, disks, ports, left-over processes."""

from __future__ import annotations

import os
import resource
from collections.abc import Iterator
from pathlib import Path

from orchestrator.config import GridConfig
from orchestrator.errors import LedgerError
from orchestrator.execution import machine
from orchestrator.ledger.ui import LOOPBACK, check_port_free
from orchestrator.plan.shapes import shapes_of_networks
from orchestrator.upkeep import resources
from orchestrator.upkeep.findings import Finding, Subject
from orchestrator.upkeep.resources import GIB

WORKER_GIB = 1.0
"""Memory that a worker with torch takes before it holds any data."""
RAY_GIB = 1.0
"""Memory of Ray's own processes and of the driver."""
OBJECT_STORE_BYTES = 200 * 2**20
"""Ray's object store as a local sweep asks for it; it lies in /dev/shm."""
FILES_WANTED = 4096
"""Open files from which Ray stops warning."""
RAY_FULL = 0.95
"""Share of a disk from which Ray takes it for full."""
UI_PORT = 5000
SHARED_MEMORY = Path("/dev/shm")


def devices(subject: Subject) -> Iterator[Finding]:
    """CPUs and memory as the control group allows, against what a worker group needs."""
    allowed, seen = machine.cpus_allowed(), os.cpu_count() or 1
    execution = subject.grid.execution if subject.grid else None
    is_cluster = bool(os.environ.get("RAY_ADDRESS"))
    text = f"{allowed:g} of {seen} CPUs may be used"
    largest = max(shapes_of_networks(subject.grid or GridConfig(), 0))
    per_group = largest.all_cpus
    fits = max(1, int(allowed) // per_group)  # what a sweep takes by itself
    asked = execution.groups if execution else 0
    if is_cluster:
        yield Finding("CPUs", "ok", f"{text}; the sweep joins the cluster of RAY_ADDRESS")
    elif (asked or fits) * per_group > allowed:
        found = f"{text}, but the sweep would use {asked or fits} worker groups of {per_group}"
        yield Finding("CPUs", "warning", f"{found}: they would wait for each other", f"execution.groups={fits}")
    else:
        yield Finding("CPUs", "ok", text)
    total, free = resources.memory_allowed()
    workers = (asked or fits) * largest.workers
    need = 0.0 if is_cluster else workers * WORKER_GIB + RAY_GIB
    text = f"{free / GIB:.1f} GiB of {total / GIB:.1f} GiB are free"
    if free / GIB < need:
        found = f"{text}; {workers} workers and Ray need about {need:.0f} GiB before they hold any data"
        yield Finding("memory", "warning", found, "end other programs, or lower execution.groups")
    else:
        yield Finding("memory", "ok", text)


def graphics(subject: Subject) -> Iterator[Finding]:
    """GPUs, the driver's match, and bf16 where the grid asks for it."""
    found = resources.gpus()
    wants_gpu = bool(subject.grid and subject.grid.execution.gpus_per_worker > 0)
    wants_bf16 = bool(subject.grid and subject.grid.train.precision == "bf16")
    if not found.present:
        text = "no NVIDIA GPU here; everything runs on CPUs"
        if wants_gpu and not os.environ.get("RAY_ADDRESS"):
            text = "execution.gpus_per_worker asks for GPUs, but there is none here"
            yield Finding("GPUs", "failure", text, "execution.gpus_per_worker=0, or set RAY_ADDRESS to a cluster")
        else:
            yield Finding("GPUs", "ok", text)
        return
    if found.error or not found.names:
        reason = found.error or (
            f"torch was built for CUDA {found.built_for}" if found.built_for else "this torch is built for CPUs only"
        )
        yield Finding(
            "GPUs",
            "failure" if wants_gpu else "warning",
            f"there are GPUs that torch cannot use: {reason} (driver: {found.driver or 'not loaded'})",
            "update the NVIDIA driver, or install a torch that is built for it; `nvidia-smi` shows what it supports",
        )
        return
    bf16 = "bf16 in hardware" if found.bf16 else "no bf16"
    result = "warning" if wants_bf16 and not found.bf16 else "ok"
    mend = "train.precision=fp32 (it changes the runs' keys)" if result == "warning" else ""
    yield Finding("GPUs", result, f"{', '.join(found.names)}; CUDA {found.built_for}; {bf16}", mend)  # type: ignore[arg-type]


def limits(subject: Subject) -> Iterator[Finding]:
    """Threads, shared memory, open files."""
    wanted = subject.grid.execution.cpus_per_worker if subject.grid else 1
    threads = os.environ.get("OMP_NUM_THREADS", "")
    if threads and threads != str(wanted):
        yield Finding(
            "OMP_NUM_THREADS",
            "warning",
            f"OMP_NUM_THREADS={threads}, but a worker has {wanted} CPU{'s' if wanted > 1 else ''}: more threads than "
            "CPUs make short operations many times slower, fewer leave CPUs idle",
            "unset OMP_NUM_THREADS",
        )
    else:
        yield Finding("OMP_NUM_THREADS", "ok", f"{threads or 'not set'}; workers use {wanted}")
    if SHARED_MEMORY.is_dir():
        free, _ = resources.disk(SHARED_MEMORY)
        text = f"{free / 2**20:.0f} MiB free in {SHARED_MEMORY}"
        if free < OBJECT_STORE_BYTES:
            more = f"; Ray's object store takes {OBJECT_STORE_BYTES / 2**20:.0f} MiB of it, and is slow on a disk"
            mend = f"docker run --shm-size=1g ..., or mount -o remount,size=1G {SHARED_MEMORY}"
            yield Finding("shared memory", "warning", text + more, mend)
        else:
            yield Finding("shared memory", "ok", text)
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < FILES_WANTED:  # Ray raises the soft limit by itself
        text = f"at most {hard} open files; Ray wants {FILES_WANTED} or more"
        yield Finding(
            "open files", "warning", text, "ulimit -n 65536 (as root), or nofile in /etc/security/limits.conf"
        )
    else:
        yield Finding("open files", "ok", f"{soft} open files" + ("" if soft >= FILES_WANTED else "; Ray raises it"))


def ui_port(subject: Subject) -> Iterator[Finding]:
    """Whether `hsfm-sweep ui` could start."""
    try:
        check_port_free(LOOPBACK, UI_PORT)
    except LedgerError as error:
        yield Finding("port of the UI", "warning", str(error).split(". End")[0], f"{subject.command('ui')} --port 5001")
    else:
        yield Finding("port of the UI", "ok", f"{UI_PORT} is free")


def left_over_processes(_: Subject) -> Iterator[Finding]:
    """Ray's workers whose raylet is gone: a training can outlive its node. Nothing is killed here."""
    import psutil

    alive: dict[int, str] = {}
    workers: list[tuple[int, int, str]] = []
    for process in psutil.process_iter(["pid", "ppid", "name", "cmdline", "uids"]):
        facts = process.info
        title = " ".join(facts["cmdline"] or ())
        if facts["uids"] is None or facts["uids"].real != os.getuid():
            continue
        if facts["name"] == "raylet":
            alive[facts["pid"]] = title
        elif title.startswith("ray::"):
            workers.append((facts["pid"], facts["ppid"], title.split("  ")[0][:60]))
    lost = [(pid, title) for pid, parent, title in workers if parent not in alive]
    if not lost:
        text = f"{len(workers)} workers of {len(alive)} running Ray nodes" if alive else "none"
        yield Finding("left-over Ray processes", "ok", text)
        return
    shown = ", ".join(f"{title} ({pid})" for pid, title in lost[:10])
    yield Finding(
        "left-over Ray processes",
        "warning",
        f"{len(lost)} without a Ray node, of a sweep that died: {shown}",
        "kill " + " ".join(str(pid) for pid, _ in lost),
    )
