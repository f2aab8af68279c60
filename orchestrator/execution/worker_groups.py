"""Resident worker groups: started, kept alive, and given back where groups of another shape need their room."""

from __future__ import annotations

import contextlib
import logging
import os
import shutil
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.config import ExecutionConfig
from orchestrator.plan.placement import Held, Placement, Room
from orchestrator.plan.shapes import GroupShape

log = logging.getLogger(__name__)

LOOK_S = 0.5
"""How often it is looked whether groups of another shape are wanted."""
ANSWER_WITHIN_S = 20.0


@dataclass
class _Running:
    """A group that was started and has not gone yet."""

    shape: GroupShape
    thread: threading.Thread
    since: float = field(default_factory=time.monotonic)
    is_leaving: bool = False


class WorkerGroups:
    """The groups of a sweep, each a `TorchTrainer.fit()` in a thread of its own; `placement` has the rules."""

    def __init__(
        self,
        execution: ExecutionConfig,
        *,
        room: Room,
        first: Sequence[GroupShape],
        shapes: Sequence[GroupShape],
        has_gpus: bool,
        folder: Path,
        plugins: Sequence[str] = (),
    ) -> None:
        """The groups of a sweep.

        Args:
            execution: the settings.
            room: what all groups may take together.
            first: the groups to start with.
            shapes: all shapes that runs may ask for.
            has_gpus: whether the cluster has GPUs, which groups without any must not see.
            folder: where Ray Train keeps its own files.
            plugins: files of further strategies.
        """
        self._execution, self._first, self._has_gpus = execution, list(first), has_gpus
        self._folder, self._plugins = folder, list(plugins)
        self._shapes = {shape.name: shape for shape in shapes}
        self._placement = Placement(room)
        self._lock = threading.Lock()
        self._groups: dict[str, _Running] = {}
        self._threads: list[threading.Thread] = []
        self._over = threading.Event()
        self.errors: dict[str, str] = {}

    def start(self, hub: Any) -> None:
        """Start the first groups; from now on `hub` is asked what is wanted."""
        import ray.train.torch  # noqa: F401  here once: two threads that import it at the same time trip over each other

        for shape in self._first:
            self._start_group(shape)
        threading.Thread(target=self._keep, args=(hub,), daemon=True, name="placement").start()

    def limit(self, shape: Any) -> int:
        """How many segments of a shape may be under way or wait: one a group, and a few ahead of a free one."""
        with self._lock:
            count = sum(one.shape == shape and not one.is_leaving for one in self._groups.values())
        return max(1, count + int(self._execution.prefetch))

    @property
    def names(self) -> set[str]:
        """Ids of the groups that are there and stay."""
        with self._lock:
            return {name for name, one in self._groups.items() if not one.is_leaving}

    @property
    def have_ended(self) -> bool:
        """Whether so many groups have ended by an error that no more are tried."""
        return len(self.errors) >= len(self._first)

    def hold(self) -> None:
        """Start no further group and send none home."""
        self._over.set()

    def join(self, timeout_s: float) -> None:
        """Wait for all groups together so long."""
        deadline = time.monotonic() + timeout_s
        for thread in self._threads:
            thread.join(max(0.0, deadline - time.monotonic()))

    # ---- which groups there are

    def _keep(self, hub: Any) -> None:
        """Start and end groups as runs of their shapes come and go; the watchdog sees to a hub that is silent."""
        import ray

        while not self._over.wait(LOOK_S):
            with contextlib.suppress(ray.exceptions.RayError):
                standing = ray.get(hub.standing.remote(), timeout=ANSWER_WITHIN_S)
                if not self._over.is_set():
                    self._move(hub, standing)

    def _move(self, hub: Any, standing: dict[str, Any]) -> None:
        now = time.monotonic()
        with self._lock:
            held = [_held(name, one, standing["idle_s"], now) for name, one in self._groups.items()]
        waiting: Counter[GroupShape] = Counter()
        for name, count in standing["waiting"].items():
            waiting[self._shapes[name]] += count
        moves = self._placement.decide(now, held, waiting)
        for name in moves.end:
            log.debug("worker group %s gives its room back", name)
            with self._lock:
                if name in self._groups:
                    self._groups[name].is_leaving = True
            hub.send_home.remote(name)
        for shape in moves.start:
            self._start_group(shape)

    def _start_group(self, shape: GroupShape) -> None:
        group_id = f"group-{len(self._threads)}"
        thread = threading.Thread(target=self._fit, args=(group_id, shape), daemon=True, name=group_id)
        with self._lock:
            self._groups[group_id] = _Running(shape, thread)
            self._threads.append(thread)
        thread.start()

    # ---- one group

    def _fit(self, group_id: str, shape: GroupShape) -> None:
        try:
            self._trainer(group_id, shape).fit()
        except Exception as error:  # the watchdog tells the user
            log.debug("worker group %s ended", group_id, exc_info=True)
            self.errors[group_id] = f"{type(error).__name__}: {str(error)[:500]}"
        with self._lock:
            was_sent = self._groups.pop(group_id).is_leaving
        if was_sent:  # `status` counts the folders of the groups that are there
            shutil.rmtree(self._folder / _name(group_id), ignore_errors=True)

    def _trainer(self, group_id: str, shape: GroupShape) -> Any:
        from ray.train import LoggingConfig, ScalingConfig
        from ray.train.torch import TorchConfig, TorchTrainer
        from ray.train.v2.api.config import FailureConfig, RunConfig

        from orchestrator.execution.worker_group import group_loop

        resources = {"CPU": float(shape.cpus)} | ({"GPU": shape.gpus} if shape.gpus else {})
        config = {
            "group_id": group_id,
            "shape": shape.name,
            "has_gpus": bool(shape.gpus),
            "threads": shape.cpus,
            "recycle_after_runs": 1 if self._execution.isolation == "run" else self._execution.recycle_after_runs,
            "plugins": self._plugins,
            "memory_limit_gib": self._execution.memory_limit_gib,
        }
        # Ray itself hides GPUs from nobody here (RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO)
        hidden = {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}} if self._has_gpus and not shape.gpus else None
        return TorchTrainer(
            group_loop,
            train_loop_config=config,
            torch_config=TorchConfig(backend="nccl" if shape.gpus else "gloo"),
            scaling_config=ScalingConfig(
                num_workers=shape.workers, use_gpu=bool(shape.gpus), resources_per_worker=resources
            ),
            run_config=RunConfig(  # type: ignore[arg-type]  # Ray annotates its former class
                name=_name(group_id),
                storage_path=str(self._folder),
                failure_config=FailureConfig(max_failures=-1, controller_failure_limit=30),
                logging_config=LoggingConfig(log_level="ERROR"),
                worker_runtime_env=hidden,
            ),
        )


def _name(group_id: str) -> str:
    return f"{group_id}-{os.getpid()}"


def _held(name: str, one: _Running, idle_s: dict[str, float | None], now: float) -> Held:
    for_s = now - one.since
    if one.is_leaving:
        return Held(name=name, shape=one.shape, state="leaving", for_s=for_s)
    if name not in idle_s:
        return Held(name=name, shape=one.shape, state="starting", for_s=for_s)
    found = idle_s[name]
    if found is None:
        return Held(name=name, shape=one.shape, state="busy", for_s=for_s)
    return Held(name=name, shape=one.shape, state="idle", for_s=found)
