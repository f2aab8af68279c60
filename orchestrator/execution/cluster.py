"""Ray from the driver's side: start or join a cluster, know its capacity, keep worker groups alive."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.config import ExecutionConfig
from orchestrator.config.secrets import is_secret
from orchestrator.errors import FeasibilityError
from orchestrator.execution.local_ray import LocalRay, own_children
from orchestrator.execution.machine import whole_cpus
from orchestrator.execution.ray_start import leave_ray, start_ray

log = logging.getLogger(__name__)

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
    execution: ExecutionConfig, world_size: int, is_gone: Callable[[], bool] = lambda: False
) -> Iterator[Capacity]:
    """Start Ray on this machine, or join the cluster that RAY_ADDRESS names; shut down at the end.

    Where it `is_gone` by then, nobody waits for its answer, and what is left of a local one is killed.
    """
    import ray

    # Tune says at every end that it finds no result files: they are switched off, the ledger has the results.
    for name in ("ray.tune", "ray.tune.analysis.experiment_analysis"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    # Good news at every start; the warning of a cluster without tokens stays.
    setup = logging.getLogger("ray._private.authentication.authentication_token_setup")
    setup.addFilter(lambda record: "is enabled" not in record.getMessage())
    is_local = not os.environ.get("RAY_ADDRESS")
    wanted = max(1, execution.groups) * world_size * execution.cpus_per_worker
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


def gpus_per_worker(execution: ExecutionConfig, capacity: Capacity) -> float:
    """GPUs of one DDP worker; the automatic choice is one where the cluster has any."""
    if execution.gpus_per_worker >= 0:
        return execution.gpus_per_worker
    return 1.0 if capacity.gpus >= 1 else 0.0


def group_count(execution: ExecutionConfig, capacity: Capacity, world_size: int) -> int:
    """How many worker groups fit.

    Raises:
        FeasibilityError: not even one does, or more were asked for than fit.
    """
    gpus = gpus_per_worker(execution, capacity)
    if 0 < gpus < 1 and world_size > 1:
        raise FeasibilityError(
            f"execution.gpus_per_worker={gpus} with train.world_size={world_size}: NCCL refuses two ranks on one GPU; "
            "use whole GPUs, or one worker a group"
        )
    if execution.groups and not capacity.is_local:
        return execution.groups  # an autoscaler starts nodes for groups that wait; the watchdog says if none comes
    fits = int(capacity.cpus // (world_size * execution.cpus_per_worker))
    if gpus:
        fits = min(fits, int(capacity.gpus // (world_size * gpus)))
    need = f"a worker group needs {world_size * execution.cpus_per_worker} CPUs and {world_size * gpus:g} GPUs"
    have = f"the cluster has {capacity.cpus:g} CPUs and {capacity.gpus:g} GPUs"
    advice = "lower train.world_size, execution.cpus_per_worker or execution.groups, or use a larger cluster"
    if fits < 1:
        raise FeasibilityError(f"{need}, but {have}; {advice}")
    if execution.groups > fits:
        raise FeasibilityError(f"execution.groups={execution.groups} do not fit: {need}, {have}; {advice}")
    return execution.groups or fits


class WorkerGroups:
    """Keeps `count` resident groups alive, each a `TorchTrainer.fit()` in a thread of its own."""

    def __init__(
        self,
        execution: ExecutionConfig,
        capacity: Capacity,
        *,
        count: int,
        world_size: int,
        folder: Path,
        plugins: Sequence[str] = (),
    ) -> None:
        self._execution, self._capacity, self._world_size, self._folder = execution, capacity, world_size, folder
        self._plugins = list(plugins)
        self.count = count
        self.errors: dict[str, str] = {}
        self._threads = [
            threading.Thread(target=self._fit, args=(f"group-{i}",), daemon=True, name=f"group-{i}")
            for i in range(count)
        ]

    def start(self) -> None:
        import ray.train.torch  # noqa: F401  here once: two threads that import it at the same time trip over each other

        for thread in self._threads:
            thread.start()

    def join(self, timeout_s: float) -> None:
        """Wait for all groups together so long."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    def _fit(self, group_id: str) -> None:
        try:
            self._trainer(group_id).fit()
        except Exception as error:  # the watchdog tells the user
            log.debug("worker group %s ended", group_id, exc_info=True)
            self.errors[group_id] = f"{type(error).__name__}: {str(error)[:500]}"

    def _trainer(self, group_id: str) -> Any:
        from ray.train import LoggingConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import FailureConfig, RunConfig

        from orchestrator.execution.worker_group import group_loop

        gpus = gpus_per_worker(self._execution, self._capacity)
        threads = self._execution.cpus_per_worker
        resources = {"CPU": float(threads)} | ({"GPU": gpus} if gpus else {})
        config = {
            "group_id": group_id,
            "threads": threads,
            "recycle_after_runs": 1 if self._execution.isolation == "run" else self._execution.recycle_after_runs,
            "plugins": self._plugins,
            "memory_limit_gib": self._execution.memory_limit_gib,
        }
        return TorchTrainer(
            group_loop,
            train_loop_config=config,
            torch_config=TorchConfig(backend="nccl" if gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=self._world_size, use_gpu=bool(gpus), resources_per_worker=resources
            ),
            run_config=RunConfig(  # type: ignore[arg-type]  # Ray annotates its former class
                name=f"{group_id}-{os.getpid()}",
                storage_path=str(self._folder),
                failure_config=FailureConfig(max_failures=-1, controller_failure_limit=30),
                logging_config=LoggingConfig(log_level="ERROR"),
            ),
        )
