"""What this machine may use: CPUs as affinity and the control group allow, not what the hardware has."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def cpus_allowed() -> float:
    """CPUs that this process may use: affinity and the control group's quota."""
    most = float(len(os.sched_getaffinity(0)))
    for folder in control_groups("cpu"):
        quota = _quota(folder)
        if quota:
            most = min(most, quota)
    return most


def _quota(folder: Path) -> float:
    """CPUs that a control group gives, of version 2 or 1; 0 where it sets no limit."""
    limit = read_small_file(folder / "cpu.max").split()
    if len(limit) == 2 and limit[0].isdigit():
        return int(limit[0]) / int(limit[1])
    quota, period = read_small_file(folder / "cpu.cfs_quota_us"), read_small_file(folder / "cpu.cfs_period_us")
    return int(quota) / int(period) if quota.isdigit() and period.isdigit() and int(period) else 0.0


def whole_cpus() -> int:
    """CPUs for worker groups: whole ones, at least one."""
    return max(1, int(cpus_allowed()))


def whole_gpus() -> int:
    """NVIDIA GPUs for worker groups, as the device files and CUDA_VISIBLE_DEVICES tell; torch is not asked."""
    here = sum(1 for _ in Path("/dev").glob("nvidia[0-9]*"))
    visible = os.environ.get("CUDA_VISIBLE_DEVICES")
    if visible is None:
        return here
    return min(here, sum(1 for name in visible.split(",") if name.strip() and name.strip() != "-1"))


def control_groups(controller: str) -> list[Path]:
    """Folders of this process's control group, as seen from inside of a container or from the host."""
    found = [CGROUPS, CGROUPS / controller]
    for line in read_small_file(Path("/proc/self/cgroup")).splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            found.append(CGROUPS / path.lstrip("/"))
        elif controller in controllers.split(","):
            found.append(CGROUPS / controller / path.lstrip("/"))
    return list(dict.fromkeys(found))


def read_small_file(path: Path) -> str:
    """A file of the kernel's, or "" where it is not there."""
    try:
        return path.read_text().strip()
    except OSError:
        return ""
