"""A resident worker group: one `TorchTrainer.fit()` whose DDP workers take run segments until told to go home.

Process group, CUDA context and mapped cubes are kept from run to run, so a short run costs about what a bare loop
costs. Workers never call `ray.train.report` or `get_checkpoint`: in a resident group both mix runs up.
"""

from __future__ import annotations

import gc
import os
import socket
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import ray
import torch
import torch.distributed as dist

from orchestrator.execution.failure_causes import failure_event
from orchestrator.execution.hub import STALE
from orchestrator.execution.hub_place import find_hub
from orchestrator.execution.seat import Seat
from orchestrator.execution.training import NetworkRun
from orchestrator.plan.run_spec import RunSpec
from strategies.registry import make_strategy

T = TypeVar("T")

HEARTBEAT_S = 10.0
BUSY_SHARE = 0.05
"""A rank that uses less than this share of a processor between two heartbeats is waiting, not working."""


class StaleGroupError(RuntimeError):
    """This incarnation of a worker group was given up while it was away."""


class _PeerError(RuntimeError):
    """Another rank could not prepare its part of the run."""


def group_loop(config: dict[str, Any]) -> None:
    """What every rank of a group does (the `train_loop_per_worker` of Ray Train)."""
    import ray.train
    from ray.train.torch import get_device

    torch.set_num_threads(int(config["threads"]))
    limit_memory(float(config["memory_limit_gib"]))
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    control = dist.new_group(backend="gloo") if world_size > 1 else None
    # without GPUs of its own a group must not use the machine's, which Ray Train would name
    device = get_device() if config["has_gpus"] else torch.device("cpu")
    member = _Member(config["group_id"], config["shape"], rank, world_size, control, device)
    try:
        for path in config.get("plugins", ()):
            from strategies.registry import load_plugin

            load_plugin(path)
    except Exception as error:
        member.say_it_cannot_start(error)
        raise
    member.enter()
    index = 0
    limit = int(config["recycle_after_runs"])
    while (job := member.next_job(index)) is not None:
        index += 1
        is_last = bool(limit) and index >= limit
        member.do(job, leaves=is_last)
        if is_last:
            member.leave()


class _Member:
    """One rank and its wire to the hub."""

    def __init__(
        self, group_id: str, shape: str, rank: int, world_size: int, control: Any, device: torch.device
    ) -> None:
        self.group_id, self.shape, self.rank, self.world_size = group_id, shape, rank, world_size
        self.control, self.device, self.hub = control, device, find_hub()
        self.generation = -1
        self.has_met = False
        self.can_split = False

    def enter(self) -> None:
        """Tell the hub that this incarnation is here, and keep telling it that it is alive."""
        here = ray.get_runtime_context().get_node_id()
        places = self._gather({"node_id": here, "host": socket.gethostname(), "pid": os.getpid()})
        self.generation = self._from_first(lambda: ray.get(self.hub.enter.remote(self.group_id, places, self.shape)))
        if self.rank == 0:
            threading.Thread(target=self._beat, daemon=True, name="heartbeat").start()

    def say_it_cannot_start(self, error: Exception) -> None:
        """The driver must hear why: Ray Train would only try again."""
        ray.get(self.hub.cannot_start.remote(self.group_id, f"{type(error).__name__}: {error}"))

    def leave(self) -> None:
        """End the process once all ranks are done; Ray Train brings the group back, with clean memory."""
        self._gather(None)
        os._exit(0)

    def _beat(self) -> None:
        """A fit or an evaluation may say nothing for long: processor time tells work from a hang."""
        used_s = time.process_time()
        while True:
            time.sleep(HEARTBEAT_S)
            now_s = time.process_time()
            self.hub.alive.remote(self.group_id, self.generation, is_busy=now_s - used_s > BUSY_SHARE * HEARTBEAT_S)
            used_s = now_s

    def next_job(self, index: int) -> dict[str, Any] | None:
        """The next job; None = go home.

        Raises:
            StaleGroupError: the hub has given this incarnation up; the group must come back as the next one.
        """
        job: dict[str, Any] | None = ray.get(self.hub.next_job.remote(self.group_id, self.generation, index))
        if job == STALE:
            raise StaleGroupError(f"{self.group_id} generation {self.generation} was given up")
        return job

    def do(self, job: dict[str, Any], *, leaves: bool = False) -> None:
        """One segment: its end, good or bad, is told once, by rank 0 (or by whoever failed)."""
        self.has_met = self.can_split = False
        try:
            event = self._run(job)
        except _PeerError:
            return  # the rank that failed tells
        except Exception as error:
            # Ranks that have met are out of step now, and a CUDA context does not survive an error of its own: the
            # group must come back as a new incarnation, never go on.
            is_broken = (self.has_met and self.world_size > 1) or self._has_lost_its_device(error)
            self._end(job, {**failure_event(error), "can_split": self.can_split, "group_leaves": is_broken or leaves})
            if is_broken:
                raise
            gc.collect()
            return
        if event is not None and self.rank == 0:
            self._end(job, {**event, "group_leaves": leaves})

    def _has_lost_its_device(self, error: Exception) -> bool:
        return self.device.type == "cuda" and (
            isinstance(error, torch.OutOfMemoryError) or "cuda error" in str(error).lower()
        )

    def _run(self, job: dict[str, Any]) -> dict[str, Any] | None:
        spec = RunSpec.from_json(job["spec"])
        strategy = self._together(lambda: make_strategy(spec.strategy, spec.fields))
        if strategy.kind == "estimator":
            from orchestrator.execution.estimators import run_estimator

            return run_estimator(spec, job, strategy) if self.rank == 0 else None
        seat = Seat(
            rank=self.rank,
            world_size=self.world_size,
            device=self.device,
            tell=lambda event: self._tell(job, event),
            first=self._from_first,
        )
        kind = run_kind(spec.stage)
        run = self._together(lambda: kind(spec, job, strategy, seat))
        self.has_met, self.can_split = True, run.can_split
        return run.run()

    # ---- words to the hub

    def _tell(self, job: dict[str, Any], event: dict[str, Any]) -> str:
        return str(ray.get(self.hub.report.remote(self.group_id, self.generation, job["lease_id"], event)))

    def _end(self, job: dict[str, Any], event: dict[str, Any]) -> None:
        ray.get(self.hub.finished.remote(self.group_id, self.generation, job["lease_id"], event))

    # ---- meetings of ranks

    def _together(self, make: Callable[[], T]) -> T:
        """Make something on every rank; where one of them cannot, none goes on to the collectives that would hang."""
        problem: Exception | None = None
        try:
            made = make()
        except Exception as error:
            problem = error
        problems = [text for text in self._gather(repr(problem) if problem else "") if text]
        if problem is not None:
            raise problem
        if problems:
            raise _PeerError(problems[0])
        return made

    def _gather(self, value: Any) -> list[Any]:
        if self.control is None:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value, group=self.control)
        return values

    def _from_first(self, ask: Any) -> Any:
        """Rank 0 asks, all ranks get the answer."""
        if self.control is None:
            return ask()
        box = [ask() if self.rank == 0 else None]
        dist.broadcast_object_list(box, src=0, group=self.control)
        return box[0]


def run_kind(stage: str) -> Any:
    """What executes a run of a stage: a class that is made from spec, job, strategy and seat."""
    if stage == "pretrain":
        from orchestrator.execution.pretraining import PretrainRun

        return PretrainRun
    if stage == "features":
        from orchestrator.execution.features import FeatureRun

        return FeatureRun
    return NetworkRun


def limit_memory(limit_gib: float) -> None:
    """Let this process take so much memory beyond what it has now; 0 = no limit.

    A run that needs more then fails by itself, with a message, before the system ends a process of its own choice.
    """
    if limit_gib <= 0:
        return
    import resource

    status = Path("/proc/self/status").read_text()
    taken = int(next(line.split()[1] for line in status.splitlines() if line.startswith("VmData"))) * 1024
    resource.setrlimit(resource.RLIMIT_DATA, (taken + int(limit_gib * 2**30), resource.RLIM_INFINITY))
