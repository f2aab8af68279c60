"""Whether a worker group fits the machine, and how many of them do."""

from __future__ import annotations

from orchestrator.config import GridConfig
from orchestrator.config.loading import block_train


def cpus_of_group(grid: GridConfig) -> int:
    """CPUs of the grid's largest worker group."""
    return _workers(grid) * grid.execution.cpus_per_worker


def groups_of(grid: GridConfig, cpus: int | None) -> int | None:
    """Worker groups at once: as the grid asks, else as many as the CPUs hold; None where neither is known."""
    if grid.execution.groups:
        return grid.execution.groups
    return None if cpus is None else cpus // cpus_of_group(grid)


def feasibility(grid: GridConfig, cpus: int | None) -> tuple[bool, str]:
    """Whether the machine can hold the worker groups, and the reason in words.

    Args:
        grid: a valid grid.
        cpus: CPUs of the machine; None where the cluster is not known yet.
    """
    sizes = {grid.train.world_size, *(block_train(grid.train, block).world_size for block in grid.blocks)}
    if len(sizes) > 1:
        return False, (
            f"the grid asks for train.world_size {sorted(sizes)}, but all worker groups of a sweep have one size; use "
            "one value, or split the grid into two sweeps"
        )
    workers, per_worker = _workers(grid), grid.execution.cpus_per_worker
    one = cpus_of_group(grid)
    shape = f"{workers} worker{'s' if workers > 1 else ''} x {per_worker} CPU{'s' if per_worker > 1 else ''}"
    if cpus is None:
        return True, f"a worker group is {shape}; the cluster's CPUs are not known before it is joined"
    asked = max(1, grid.execution.groups)
    if one * asked > cpus:
        what = "a worker group needs" if asked == 1 else f"{asked} worker groups need"
        return False, (
            f"{what} {one * asked} CPUs ({shape}{' each' if asked > 1 else ''}), but there are {cpus}; lower "
            "train.world_size, execution.cpus_per_worker or execution.groups, or join a larger cluster"
        )
    count = groups_of(grid, cpus) or 1
    return True, f"{count} worker group{'s' if count > 1 else ''} of {shape} on {cpus} CPUs"


def _workers(grid: GridConfig) -> int:
    blocks = [block_train(grid.train, block).world_size for block in grid.blocks]
    return max([grid.train.world_size, *blocks])
