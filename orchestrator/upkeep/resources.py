"""What this machine may use: CPUs and memory as the control group allows, disks, GPUs. Plain numbers."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.execution.machine import control_groups, read_small_file

GIB = 2**30
_UNLIMITED = 2**60
_ASK_TORCH = """
import json, torch
found = {"cuda": torch.version.cuda, "available": torch.cuda.is_available(), "names": [], "bf16": None, "error": ""}
if found["available"]:
    found["names"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
    found["bf16"] = torch.cuda.is_bf16_supported()
else:
    try:
        torch.cuda.init()
    except Exception as error:
        found["error"] = str(error)
print(json.dumps(found))
"""


def memory_allowed() -> tuple[int, int]:
    """Bytes of memory that there are for us, and that are free: the machine's, or the control group's."""
    import psutil

    found = psutil.virtual_memory()
    total, free = int(found.total), int(found.available)
    for folder in control_groups("memory"):
        limits = [read_small_file(folder / name) for name in ("memory.max", "memory.limit_in_bytes")]
        used = [read_small_file(folder / name) for name in ("memory.current", "memory.usage_in_bytes")]
        for limit, use in zip(limits, used, strict=True):
            if limit.isdigit() and int(limit) < _UNLIMITED:
                total = min(total, int(limit))
                free = min(free, max(0, int(limit) - int(use or 0) + _reclaimable(folder)))
    return total, free


def _reclaimable(folder: Path) -> int:
    """Bytes of a control group's use that are copies of files (the page cache): they go when memory is asked for."""
    lines = [line.split() for line in read_small_file(folder / "memory.stat").splitlines()]
    found = {words[0]: int(words[1]) for words in lines if len(words) == 2 and words[1].isdigit()}
    names = ("active_file", "inactive_file")
    # version 1 counts groups below this one apart, in fields of their own
    return sum(found.get(f"total_{name}", found.get(name, 0)) for name in names)


def existing(folder: Path) -> Path:
    """The path, or the nearest one above it that exists (a file, where one is in the way)."""
    folder = folder.absolute()
    return next((place for place in (folder, *folder.parents) if place.exists()), Path("/"))


def disk(folder: Path) -> tuple[int, float]:
    """Free bytes of the disk that holds (or will hold) a folder, and the share of it that is used."""
    found = shutil.disk_usage(existing(folder))
    return found.free, found.used / max(1, found.used + found.free)


@dataclass(frozen=True)
class Gpus:
    """NVIDIA GPUs as torch sees them."""

    present: bool
    """Whether the system has any, as its device files tell."""
    names: tuple[str, ...] = ()
    bf16: bool | None = None
    built_for: str = ""
    """CUDA version that torch was built with; "" = CPU only."""
    driver: str = ""
    error: str = ""
    """Why torch cannot use them."""


def gpus(timeout_s: float = 60) -> Gpus:
    """Ask torch in a process of its own: a broken driver can hang or kill it. Without GPUs torch is not imported."""
    driver = read_small_file(Path("/proc/driver/nvidia/version")).splitlines()
    if not any(Path("/dev").glob("nvidia[0-9]*")):
        return Gpus(present=False, driver=driver[0] if driver else "")
    try:
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", _ASK_TORCH],
            capture_output=True, text=True, timeout=timeout_s, check=False,
        )  # fmt: skip
        found: dict[str, Any] = json.loads(done.stdout.strip().splitlines()[-1])
    except subprocess.TimeoutExpired:
        return Gpus(present=True, error=f"torch.cuda does not answer within {timeout_s:g} s")
    except (ValueError, IndexError):
        said = done.stderr.strip().splitlines()
        return Gpus(present=True, error=said[-1] if said else f"asking torch ended with {done.returncode}")
    return Gpus(
        present=True,
        names=tuple(found["names"]),
        bf16=found["bf16"],
        built_for=found["cuda"] or "",
        driver=driver[0] if driver else "",
        error=found["error"],
    )
