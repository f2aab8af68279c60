"""The shape of the worker group that a run needs: workers, and CPUs and GPUs of each. Pure.

A shape is placement: it is in no key. The number of workers of a network is its world size, which its key has anyway.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orchestrator.config import ExecutionConfig, GridConfig
from orchestrator.config.loading import block_train
from orchestrator.errors import ConfigError
from orchestrator.plan.planned import PlannedCell


@dataclass(frozen=True, order=True)
class GroupShape:
    """What one worker group is made of."""

    workers: int = 1
    cpus: int = 1
    """CPUs of each worker."""
    gpus: float = 0.0
    """GPUs of each worker; a share only where there is one worker."""

    @property
    def all_cpus(self) -> int:
        """CPUs of the whole group."""
        return self.workers * self.cpus

    @property
    def all_gpus(self) -> float:
        """GPUs of the whole group."""
        return self.workers * self.gpus

    @property
    def name(self) -> str:
        """A short name, unique among shapes."""
        return f"{self.workers}x{self.cpus}c{self.gpus:g}g"

    def __str__(self) -> str:
        gpus = f" + {self.gpus:g} GPU{'s' if self.gpus > 1 else ''}" if self.gpus else ""
        workers = f"{self.workers} worker{'s' if self.workers > 1 else ''}"
        return f"{workers} x {self.cpus} CPU{'s' if self.cpus > 1 else ''}{gpus}"


@dataclass(frozen=True)
class Shapes:
    """Which shape each cell, and each shared stage, of one sweep has."""

    execution: ExecutionConfig
    gpus: float
    """GPUs of each worker that trains a network."""
    estimators: GroupShape

    def of(self, planned: PlannedCell) -> GroupShape:
        """The shape of the groups that run this cell's segments."""
        if planned.kind == "estimator":
            return self.estimators
        is_on_cpu = planned.stage == "features" and self.execution.features_on == "cpu"
        workers = int(planned.train.get("world_size", 1))
        return GroupShape(workers, self.execution.cpus_per_worker, 0.0 if is_on_cpu else self.gpus)


def gpus_of_worker(execution: ExecutionConfig, gpus: float) -> float:
    """GPUs of each worker that trains a network; the automatic choice is one where the cluster has any.

    Args:
        execution: the settings.
        gpus: GPUs of the cluster.
    """
    if execution.gpus_per_worker >= 0:
        return execution.gpus_per_worker
    return 1.0 if gpus >= 1 else 0.0


def shapes_for(cells: Iterable[PlannedCell], execution: ExecutionConfig, gpus: float) -> Shapes:
    """The shapes of a sweep.

    On a cluster with GPUs, scikit-learn strategies get groups of one worker that hold none. Without GPUs they run on
    the first worker of the smallest groups that the sweep's networks have anyway: to end a group and start another
    one costs more than most fits.

    Args:
        cells: its cells and its shared stages.
        execution: the settings.
        gpus: GPUs of the cluster.

    Raises:
        ConfigError: groups of several workers whose workers would hold a share of a GPU each.
    """
    cells = list(cells)
    each = gpus_of_worker(execution, gpus)
    alone = GroupShape(1, execution.cpus_per_worker)
    shapes = Shapes(execution, each, alone)
    networks = {shapes.of(cell) for cell in cells if cell.kind == "network"}
    _refuse_shares(networks)
    if each or not networks:
        return shapes
    return Shapes(execution, each, min(networks))


def shapes_of_networks(grid: GridConfig, gpus: float) -> list[GroupShape]:
    """The shapes that the networks of a grid and its blocks ask for, whatever of it is done, the smallest first.

    Args:
        grid: a valid grid.
        gpus: GPUs of the cluster.
    """
    sizes = {grid.train.world_size, *(block_train(grid.train, block).world_size for block in grid.blocks)}
    each = gpus_of_worker(grid.execution, gpus)
    return [GroupShape(size, grid.execution.cpus_per_worker, each) for size in sorted(sizes)]


def _refuse_shares(shapes: Iterable[GroupShape]) -> None:
    for shape in sorted(shapes):
        if shape.workers > 1 and shape.gpus % 1:
            raise ConfigError(
                f"execution.gpus_per_worker={shape.gpus:g} with train.world_size={shape.workers}: NCCL refuses two "
                "ranks on one GPU, so only groups of one worker may hold a share of one; use execution.gpus_per_worker"
                "=1 (or -1), or train.world_size=1 in every block"
            )
