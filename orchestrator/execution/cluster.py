"""Ray from the driver's side: start or join a cluster, know its capacity and what of it worker groups may take."""

from __future__ import annotations

import contextlib
import logging
import math
import os
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from typing import Any

from orchestrator.config import ExecutionConfig
from orchestrator.config.secrets import is_secret
from orchestrator.errors import FeasibilityError
from orchestrator.execution.local_ray import LocalRay, own_children
from orchestrator.execution.machine import whole_cpus
from orchestrator.execution.ray_start import leave_ray, start_ray
from orchestrator.plan.placement import Room
from orchestrator.plan.resources import feasibility
from orchestrator.plan.shapes import GroupShape

DRIVER_RESOURCE = "hsfm_driver"
"""Custom resource that only safe (not pre-emptible) nodes declare; trial drivers ask for a sliver of it."""

_QUIET = {
    "RAY_TRAIN_ENABLE_PREEMPTION_WATCHER": "0",
    "RAY_TRAIN_HEALTH_CHECK_INTERVAL_S": "0.5",
    "RAY_TRAIN_METRICS_ENABLED": "0",
    "RAY_AIR_NEW_OUTPUT": "0",
    "RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO": "0",
    "RAY_DISABLE_IMPORT_WARNING": "1",
    "RAY_USAGE_STATS_ENABLED": "0",
    # A thread that still asks something of a Ray that is gone must not start another one.
    "RAY_ENABLE_AUTO_CONNECT": "0",
    # Trial drivers and the hub use no CPU, which the raylet else takes for a flood of processes and warns of.
    "RAY_worker_maximum_startup_concurrency": "4",
    "TUNE_DISABLE_AUTO_CALLBACK_LOGGERS": "1",
    "TUNE_DISABLE_SIGINT_HANDLER": "1",
    "TUNE_GLOBAL_CHECKPOINT_S": "1000000000",
    "TUNE_MAX_PENDING_TRIALS_PG": "64",
    "TUNE_WARN_EXCESSIVE_EXPERIMENT_CHECKPOINT_SYNC_THRESHOLD_S": "0",
}


_FORWARDED = ("GLOO_", "NCCL_", "AWS_", "GOOGLE_", "AZURE_")
"""Workers on other hosts do not inherit the driver's environment: network interfaces, regions, paths of credentials."""


@dataclass(frozen=True)
class Capacity:
    """What the cluster can give to worker groups."""

    cpus: float
    gpus: float
    has_driver_nodes: bool
    local: LocalRay | None
    """The Ray that was started on this machine; None where a cluster was joined."""

    @property
    def is_local(self) -> bool:
        return self.local is not None


def set_environment(execution: ExecutionConfig) -> None:
    """What Ray reads from the environment, unless the user has set it; call before importing ray."""
    os.environ.update({k: os.environ.get(k, v) for k, v in _QUIET.items()})
    os.environ.setdefault("OMP_NUM_THREADS", str(execution.cpus_per_worker))


@contextlib.contextmanager
def ray_session(
    execution: ExecutionConfig, workers: int, most_workers: int = 1, is_gone: Callable[[], bool] = lambda: False
) -> Iterator[Capacity]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; shut down at the end.

    A group has so many `workers`, or, where groups differ, from `workers` to `most_workers`. Where Ray `is_gone` at the
    end, nobody waits for its answer, and what is left of a local one is killed.
    """
    import ray

    # Tune says at every end that it finds no result files: they are switched off, the ledger has the results.
    for name in ("ray.tune", "ray.tune.analysis.experiment_analysis"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Good news at every start; the warning of a cluster without tokens stays.
    setup = logging.getLogger("ray._private.authentication.authentication_token_setup")
    setup.addFilter(lambda record: "is enabled" not in record.getMessage())
    is_local = not os.environ.get("RAY_ADDRESS")
    wanted = max(most_workers, max(1, execution.groups) * workers) * execution.cpus_per_worker
    local: dict[str, Any] = {}
    if is_local:
        # More groups than cores may be asked for (tests do); Ray then counts what was asked for, not what is there.
        local = {
            "num_cpus": max(whole_cpus(), wanted if execution.groups else 1),
            "include_dashboard": False,
            "resources": {DRIVER_RESOURCE: 1000},
        }
        local["object_store_memory"] = 200 * 1024 * 1024
    names = [*_QUIET, "OMP_NUM_THREADS", "HSFM_DATA_ROOT", "HSFM_CACHE", "PYTHONPATH"]
    # no secrets: Ray writes what it forwards into its logs, and shows it on its dashboard
    names += [n for n, value in os.environ.items() if n.startswith(_FORWARDED) and not is_secret(n, value)]
    local["runtime_env"] = {"env_vars": {n: os.environ[n] for n in names if n in os.environ}}
    before = own_children()
    starter = start_ray(local, before if is_local else None, restarts=execution.restarts)
    processes = LocalRay(before) if is_local else None
    try:
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        yield Capacity(total.get("CPU", 0), total.get("GPU", 0), DRIVER_RESOURCE in total, processes)
    finally:
        try:
            if is_gone():
                leave_ray(processes)
            else:
                ray.shutdown()
        finally:
            starter.let_go()


def node_count() -> int:
    """Nodes of the cluster that are alive."""
    import ray

    return sum(bool(node["Alive"]) for node in ray.nodes())  # type: ignore[no-untyped-call]


def room_for(shapes: Collection[GroupShape], execution: ExecutionConfig, capacity: Capacity) -> Room:
    """What worker groups may take together.

    Raises:
        FeasibilityError: not even one group of each shape fits, or more were asked for than fit.
    """
    if execution.groups and not capacity.is_local:
        # an autoscaler starts nodes for groups that wait; the watchdog says if none comes
        return Room(groups=execution.groups)
    fits, text = feasibility(shapes, execution, capacity.cpus, capacity.gpus)
    if not fits:
        raise FeasibilityError(text)
    return Room(capacity.cpus, capacity.gpus, execution.groups or math.inf)
