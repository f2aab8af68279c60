"""Notices that a sweep does not move any more, says why, and ends the wait: Tune itself would wait for ever."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from orchestrator.config import ExecutionConfig
from orchestrator.execution.cluster import DRIVER_RESOURCE, WorkerGroups

FRUITLESS_RESTARTS = 5
"""Restarts of a worker group in a row without one finished run, after which it is given up."""


class Watchdog:
    """Looks at the hub every second; when nothing moves any more it says why and ends the wait."""

    def __init__(
        self, hub: Any, groups: WorkerGroups, execution: ExecutionConfig, stop: Any, stop_reason: Callable[[], str]
    ) -> None:
        self._hub, self._groups, self._execution, self._stop = hub, groups, execution, stop
        self._stop_reason, self._has_told = stop_reason, False
        self._over = threading.Event()
        self.condition: dict[str, Any] = {}
        self._thread = threading.Thread(target=self._watch, daemon=True, name="watchdog")

    def start(self) -> None:
        self._thread.start()

    def end(self) -> None:
        self._over.set()

    def _watch(self) -> None:
        import ray

        silent = 0
        while not self._over.wait(1.0):
            try:
                self.condition = ray.get(self._hub.condition.remote(), timeout=20)
                silent = 0
            except ray.exceptions.RayError as error:
                silent += 1
                if silent >= 3:
                    self._stop(
                        f"the Ray cluster does not answer any more ({type(error).__name__}); "
                        "start the same command again to go on",
                        hard=True,
                    )
                    return
                continue
            if diagnosis := self._diagnose():
                self._stop(diagnosis, hard=True)
                return
            self._limit_runs()
            if (reason := self._stop_reason()) and not self._has_told:
                self._has_told = True
                self._hub.stop.remote(reason)  # a stop that the sweep itself decided must reach the groups, too

    def _limit_runs(self) -> None:
        limit = self._execution.run_time_limit_s
        for lease_id, seconds in self.condition["leases"].items() if limit else ():
            if seconds > limit:
                self._hub.cancel.remote(
                    lease_id, f"time limit: {seconds:.0f} s is over execution.run_time_limit_s={limit:g}"
                )

    def _diagnose(self) -> str:
        import ray

        dead = {g: n for g, n in self.condition["fruitless_restarts"].items() if n >= FRUITLESS_RESTARTS}
        if dead:
            return (
                f"worker groups {sorted(dead)} died {max(dead.values())} times without finishing a run; "
                "see the Ray logs of their workers"
            )
        if len(self._groups.errors) == self._groups.count:
            return f"all worker groups ended: {self._groups.errors}"
        if len(self.condition["start_errors"]) == self._groups.count:
            return f"worker groups cannot start: {sorted(set(self.condition['start_errors'].values()))}"
        idle_s = self.condition["idle_for_s"]
        if idle_s < self._execution.stall_timeout_s:
            return ""
        total: dict[str, float] = ray.cluster_resources()  # type: ignore[no-untyped-call]
        free: dict[str, float] = ray.available_resources()  # type: ignore[no-untyped-call]
        free = {k: v for k, v in free.items() if k in ("CPU", "GPU", DRIVER_RESOURCE)}
        return (
            f"no progress for {idle_s:.0f} s (execution.stall_timeout_s): groups {self.condition['groups']}, "
            f"runs in flight {sorted(self.condition['leases'])}, free resources {free} of {total}"
        )
