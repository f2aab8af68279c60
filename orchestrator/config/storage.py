"""Where a sweep keeps its checkpoints."""

from __future__ import annotations

from pathlib import Path

from orchestrator.config.schema import GridConfig


def own_storage(folder: Path) -> str:
    """The place in the sweep's own folder."""
    return str(folder / "checkpoints")


def storage_of(grid: GridConfig, folder: Path) -> str:
    """What the grid says, else the sweep's own folder: a folder or the address of an object store."""
    return grid.execution.storage_path or own_storage(folder)
