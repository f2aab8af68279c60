"""A resident worker group: one `TorchTrainer.fit()` whose DDP workers take run segments until told to go home.

Process group, CUDA context and mapped cubes are kept from run to run, so a short run costs about what a bare loop
costs. Workers never call `ray.train.report` or `get_checkpoint`: in a resident group both mix runs up.
"""

from __future__ import annotations

import gc
import os
import socket
import traceback
from typing import Any

import ray
import torch
import torch.distributed as dist

from orchestrator.execution.hub import find_hub
from orchestrator.execution.seat import Seat
from orchestrator.execution.training import NetworkRun
from orchestrator.plan.run_spec import RunSpec

# What gloo and NCCL say when another rank dies; they raise plain RuntimeErrors.
_PEER_WORDS = ("connection closed by peer", "connection reset by peer", "broken pipe", "gloo", "nccl")


class _PeerError(RuntimeError):
    """Another rank could not prepare its part of the run."""


def group_loop(config: dict[str, Any]) -> None:
    """What every rank of a group does (the `train_loop_per_worker` of Ray Train)."""
    import ray.train
    from ray.train.torch import get_device

    torch.set_num_threads(int(config["threads"]))
    context = ray.train.get_context()
    rank, world_size = context.get_world_rank(), context.get_world_size()
    control = dist.new_group(backend="gloo") if world_size > 1 else None
    member = _Member(config["group_id"], rank, world_size, control, get_device())
    for path in config.get("plugins", ()):
        from strategies.registry import load_plugin

        load_plugin(path)
    member.enter()
    index = 0
    limit = int(config["recycle_after_runs"])
    while (job := member.next_job(index)) is not None:
        index += 1
        is_last = bool(limit) and index >= limit
        member.do(job, leaves=is_last)
        if is_last:
            os._exit(0)  # Ray Train brings the group back as a new incarnation, with clean memory


class _Member:
    """One rank and its wire to the hub."""

    def __init__(self, group_id: str, rank: int, world_size: int, control: Any, device: torch.device) -> None:
        self.group_id, self.rank, self.world_size = group_id, rank, world_size
        self.control, self.device, self.hub = control, device, find_hub()
        self.generation = -1
        self.has_met = False

    def enter(self) -> None:
        pids = self._gather(os.getpid())
        self.generation = self._from_first(
            lambda: ray.get(self.hub.enter.remote(self.group_id, pids, socket.gethostname()))
        )

    def next_job(self, index: int) -> dict[str, Any] | None:
        return ray.get(self.hub.next_job.remote(self.group_id, self.generation, index))

    def do(self, job: dict[str, Any], *, leaves: bool = False) -> None:
        """One segment: its end, good or bad, is told once, by rank 0 (or by whoever failed)."""
        self.has_met = False
        try:
            event = self._run(job)
        except _PeerError:
            return  # the rank that failed tells
        except Exception as error:
            # Ranks that have met are out of step now: the group must come back as a new incarnation, never go on.
            broken = self.has_met and self.world_size > 1
            self._end(job, {**failure_event(error), "group_leaves": broken or leaves})
            if broken:
                raise
            gc.collect()
            return
        if event is not None and self.rank == 0:
            self._end(job, {**event, "group_leaves": leaves})

    def _run(self, job: dict[str, Any]) -> dict[str, Any] | None:
        from strategies.registry import get_strategy

        spec = RunSpec.from_json(job["spec"])
        strategy = get_strategy(spec.strategy)(**spec.fields)
        if strategy.kind == "estimator":
            from orchestrator.execution.estimators import run_estimator

            return run_estimator(spec, job, strategy) if self.rank == 0 else None
        seat = Seat(
            rank=self.rank,
            world_size=self.world_size,
            device=self.device,
            tell=lambda event: self._tell(job, event),
            first=self._from_first,
            agree=self._agree,
        )
        try:
            run = NetworkRun(spec, job, strategy, seat)
        except Exception as error:
            self._agree(f"{type(error).__name__}: {error}", raises=False)
            raise
        return run.run()

    # ---- words to the hub

    def _tell(self, job: dict[str, Any], event: dict[str, Any]) -> str:
        return str(ray.get(self.hub.report.remote(self.group_id, self.generation, job["lease_id"], event)))

    def _end(self, job: dict[str, Any], event: dict[str, Any]) -> None:
        ray.get(self.hub.finished.remote(self.group_id, self.generation, job["lease_id"], event))

    # ---- meetings of ranks

    def _agree(self, error: str, *, raises: bool = True) -> None:
        errors = [e for e in self._gather(error) if e]
        if errors and raises:
            raise _PeerError(errors[0])
        self.has_met = not errors

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


def failure_event(error: BaseException) -> dict[str, Any]:
    """An exception as plain data, classified for the failure policy.

    Causes: `lost` (a peer or the cluster went away: try again), `out_of_memory`, `storage` (try again),
    `run_error` (the run itself is wrong: trying again would fail again).
    """
    text = str(error).strip() or type(error).__name__
    low = text.lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or "out of memory" in low:
        cause = "out_of_memory"
    elif isinstance(error, ray.exceptions.RayError | dist.DistError) or any(word in low for word in _PEER_WORDS):
        cause = "lost"
    elif isinstance(error, OSError):
        cause = "storage"
    else:
        cause = "run_error"
    message = f"{type(error).__name__}: {text}"
    return {
        "kind": "failed",
        "cause": cause,
        "error": message[:2000],
        "traceback": "".join(traceback.format_exception(error)),
    }
