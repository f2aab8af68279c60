"""Notices what does not move any more, says why, and ends it: Ray and Tune would wait for ever.

A run that hangs costs its worker group (which comes back) and one attempt; a sweep in which nothing moves, or whose
Ray has died, is ended with a diagnosis.
"""

from __future__ import annotations

import logging
import math
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from orchestrator.config import ExecutionConfig
from orchestrator.execution.cluster import DRIVER_RESOURCE
from orchestrator.execution.hub_place import draining_nodes
from orchestrator.execution.local_ray import LocalRay, kill_here
from orchestrator.execution.worker_groups import WorkerGroups

log = logging.getLogger(__name__)

FRUITLESS_RESTARTS = 5
"""Restarts of a worker group in a row without one finished run, after which it is given up."""
SILENCE_LIMIT_S = 120.0
"""A group without a heartbeat for so long is taken for dead: its run goes to another one."""
CANCEL_GRACE_S = 30.0
"""A run that was told to stop ends at its next step; one that does not is ended with its worker group."""
SILENT_LOOKS = 3
"""Looks in a row that Ray does not answer, after which it is taken for dead."""
ASK_EVERY_S, ANSWER_WITHIN_S = 5.0, 45.0
"""How often the cluster's control service (GCS) is asked for a sign of life, and how long it may take."""
SAVE_AGAIN_S = 20.0
"""A run on a machine that is about to go writes a checkpoint this often: at most so much work is lost."""


class Stop(Protocol):
    """Ends the sweep: at the next checkpoints, or (hard) at once, because nothing answers; lost = Ray has died."""

    def __call__(self, reason: str, *, hard: bool = False, is_lost: bool = False) -> None: ...


class Watchdog:
    """Looks at the hub, the worker groups and Ray itself every second."""

    def __init__(
        self,
        hub: Any,
        groups: WorkerGroups,
        execution: ExecutionConfig,
        stop: Stop,
        stop_reason: Callable[[], str],
        local: LocalRay | None,
    ) -> None:
        self._hub, self._groups, self._execution, self._stop = hub, groups, execution, stop
        self._stop_reason, self._has_told, self._local = stop_reason, False, local
        self._over = threading.Event()
        self._cancelled_at: dict[str, float] = {}
        self._saved_at: dict[str, float] = {}
        self._service = _ControlService()
        self.condition: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        """Look until the end; nobody watches the watchdog, so whatever it meets ends the sweep with a message."""
        import ray

        silent = 0
        while not self._over.wait(1.0):
            try:
                if self._look():
                    return
                silent = 0
            except ray.exceptions.RayError as error:
                silent += 1
                if silent >= SILENT_LOOKS:
                    text = f"the Ray cluster does not answer any more ({type(error).__name__})"
                    self._stop(text, hard=True, is_lost=True)
                    return
            except Exception as error:
                log.exception("the watchdog")
                text = f"the watchdog of the sweep failed ({type(error).__name__}: {error}); please report it"
                self._stop(text, hard=True)
                return

    def _look(self) -> bool:
        """One look at everything; whether the sweep was ended."""
        import ray

        missing = (self._local.missing() if self._local else "") or self._service.missing()
        if missing:
            self._stop(f"Ray has died: {missing} is gone", hard=True, is_lost=True)
            return True
        self.condition = ray.get(self._hub.condition.remote(), timeout=20)
        if diagnosis := self._diagnose():
            self._stop(diagnosis, hard=True)
            return True
        self._save_on_notice()
        self._end_silent_groups()
        self._limit_runs()
        if (reason := self._stop_reason()) and not self._has_told:
            self._has_told = True
            self._hub.stop.remote(reason)  # a stop that the sweep itself decided must reach the groups, too
        return False

    # ---- one run, one group

    def _limit_runs(self) -> None:
        limit_s, stall_s = self._execution.run_time_limit_s, self._execution.stall_timeout_s
        for lease_id, lease in self.condition["leases"].items():
            if lease["silent_s"] > stall_s:
                self._end_group(
                    lease["group"],
                    "stalled",
                    f"no step and no work for {lease['silent_s']:.0f} s (execution.stall_timeout_s={stall_s:g})",
                )
            elif limit_s and lease["seconds"] > limit_s:
                reason = f"time limit: {lease['seconds']:.0f} s is over execution.run_time_limit_s={limit_s:g}"
                told_at = self._cancelled_at.setdefault(lease_id, time.monotonic())
                self._hub.cancel.remote(lease_id, reason)
                if time.monotonic() - told_at > CANCEL_GRACE_S:
                    self._end_group(lease["group"], "time_limit", reason)

    def _save_on_notice(self) -> None:
        """Runs on machines that were told to go write a checkpoint now, and again until they are gone."""
        for lease_id, lease in self.condition["leases"].items():
            places = self.condition["groups"].get(lease["group"], {}).get("places", ())
            is_due = time.monotonic() - self._saved_at.get(lease_id, -math.inf) > SAVE_AGAIN_S
            if is_due and any(place["node_id"] in self._service.draining for place in places):
                self._saved_at[lease_id] = time.monotonic()
                self._hub.save_soon.remote(lease_id)

    def _end_silent_groups(self) -> None:
        for group_id, group in self.condition["groups"].items():
            if group["silent_s"] > SILENCE_LIMIT_S and not self.condition["is_closed"]:
                hosts = sorted({place["host"] for place in group["places"]})
                self._end_group(
                    group_id,
                    "lost",
                    f"worker group {group_id} on {', '.join(hosts)} was silent for {SILENCE_LIMIT_S:.0f} s",
                )

    def _end_group(self, group_id: str, cause: str, reason: str) -> None:
        """Give a group's incarnation up and kill its processes: Ray Train then brings it back."""
        import ray

        group = self.condition["groups"][group_id]
        held = self._hub.give_up.remote(group_id, group["generation"], group["lease"], cause, reason)
        if not ray.get(held, timeout=20):
            return  # it came back, or has another run by now
        here = ray.get_runtime_context().get_node_id()
        for place in group["places"]:
            if place["node_id"] == here:
                kill_here(place["pid"])
            else:
                _kill_there(place)

    # ---- the whole sweep

    def _diagnose(self) -> str:
        dead = {g: n for g, n in self.condition["fruitless_restarts"].items() if n >= FRUITLESS_RESTARTS}
        if dead:
            return (
                f"worker groups {sorted(dead)} died {max(dead.values())} times without finishing a run; "
                "see the Ray logs of their workers"
            )
        if self._groups.have_ended:
            return f"all worker groups ended: {self._groups.errors}"
        names = self._groups.names
        if names and names <= self.condition["start_errors"].keys():
            return f"worker groups cannot start: {sorted(set(self.condition['start_errors'].values()))}"
        idle_s = self.condition["idle_for_s"]
        # a run that hangs is ended first, and costs that run an attempt only
        limit_s = self._execution.stall_timeout_s * (2 if self.condition["leases"] else 1)
        return self._standstill(idle_s) if idle_s >= limit_s else ""

    def _standstill(self, idle_s: float) -> str:
        import ray

        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        free = {k: v for k, v in free.items() if k in ("CPU", "GPU", DRIVER_RESOURCE)}
        return (
            f"no progress for {idle_s:.0f} s (execution.stall_timeout_s): groups {self.condition['groups']}, "
            f"runs in flight {sorted(self.condition['leases'])}, free resources {free} of {total}"
        )


class _ControlService:
    """Asks the cluster's GCS for a sign of life, and for nodes that are about to go.

    In a thread of its own: without a GCS the calls would not come back.
    """

    def __init__(self) -> None:
        self._answered = threading.Event()
        self._asked_at = -math.inf
        self._answered.set()
        self.draining: set[str] = set()
        """Ids of nodes that were told to go."""

    def missing(self) -> str:
        """What does not answer, in words; "" while it does."""
        now = time.monotonic()
        if self._answered.is_set() and now - self._asked_at > ASK_EVERY_S:
            self._answered.clear()
            self._asked_at = now
            threading.Thread(target=self._ask, daemon=True, name="gcs").start()
        is_late = not self._answered.is_set() and now - self._asked_at > ANSWER_WITHIN_S
        return "the control service (GCS)" if is_late else ""

    def _ask(self) -> None:
        import ray

        ray.nodes()  # type: ignore[no-untyped-call]
        self.draining = draining_nodes()
        self._answered.set()


def _kill_there(place: Mapping[str, Any]) -> None:
    """Kill a process of another node by a task on that node."""
    import ray

    strategy = ray.util.scheduling_strategies.NodeAffinitySchedulingStrategy(place["node_id"], soft=False)
    ray.remote(kill_here).options(num_cpus=0, scheduling_strategy=strategy).remote(place["pid"])
