"""The meeting point of trial drivers and worker groups: leases, generations and attempts.

One asyncio actor without CPU. A worker group is known by its id and its *generation* (its incarnation: a group that
crashed comes back as the next one); a run segment is known by its *lease*. Words from an older generation, or about
a lease that is over, are refused, so that a training which outlived its node cannot write into the new attempt.
It deliberately decides nothing about the sweep: what runs next is the searcher's.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from orchestrator.execution.failures import NODE_LOST
from orchestrator.execution.hub_records import SAVE_NOW, Clocks, Group, Lease
from orchestrator.execution.idle_groups import IdleGroups

STALE = {"kind": "stale"}
"""Handed to an incarnation that was given up: it must come back as the next one."""


class Hub:
    """See the module's docstring. Every method is a coroutine of one actor, so nothing needs a lock."""

    def __init__(self, taken_nodes: Callable[[], set[str]] = set) -> None:
        """`taken_nodes` tells the ids of nodes that are dead or about to go."""
        self._taken_nodes = taken_nodes
        self._groups: dict[str, Group] = {}
        self._leases: dict[str, Lease] = {}
        self._idle = IdleGroups()
        self._leaving: set[str] = set()
        """Groups that go home after their present segment."""
        self._fruitless: Counter[str] = Counter()
        self._abandoned: set[str] = set()
        self._start_errors: dict[str, str] = {}
        self._refused = 0
        self._closed = False
        self._stopping = ""
        self._stopped = asyncio.Event()
        self._last_progress = time.time()
        self._clocks = Clocks()

    # ---- spoken by worker groups

    async def enter(self, group_id: str, places: list[dict[str, Any]], shape: str = "") -> int:
        """A group (re)starts: its new generation. The run its former incarnation held is lost."""
        former = self._groups.get(group_id)
        generation = former.generation + 1 if former else 0
        if former and former.lease_id:
            self._end(
                former.lease_id,
                {"kind": "lost", "reason": f"worker group {group_id} generation {former.generation} died"},
            )
        is_fruitless = former and not (former.finished_runs or former.lease_id or former.lost_a_run)
        if is_fruitless and former and not former.is_on(self._taken_nodes()):
            self._fruitless[group_id] += 1  # with a run lost, that run's own count goes up
        self._start_errors.pop(group_id, None)
        group = self._groups[group_id] = Group(generation=generation, places=places, shape=shape)
        self._last_progress = time.time()
        if self._closed or group_id in self._leaving:
            group.jobs.append(None)
        else:
            self._offer(group_id, group)
        return generation

    async def next_job(self, group_id: str, generation: int, index: int) -> dict[str, Any] | None:
        """The group's job number `index`: every rank asks for the same one. None = go home."""
        group = self._groups[group_id]
        if group.generation != generation:
            return STALE
        async with group.arrived:
            await group.arrived.wait_for(lambda: len(group.jobs) > index or group.generation != generation)
        return group.jobs[index] if group.generation == generation else STALE

    async def alive(self, group_id: str, generation: int, *, is_busy: bool) -> None:
        """A heartbeat; a group whose processor works makes progress, even if its run has nothing to say yet."""
        group = self._groups.get(group_id)
        if group and group.generation == generation:
            group.heard_at = time.time()
            if is_busy and group.lease_id:
                self._last_progress = self._leases[group.lease_id].heard_at = time.time()

    async def cannot_start(self, group_id: str, error: str) -> None:
        """A group's process could not get ready (a plugin that does not import, say)."""
        self._start_errors[group_id] = error

    async def report(self, group_id: str, generation: int, lease_id: str, event: dict[str, Any]) -> str:
        """Progress of a run, by rank 0. Answers "" to go on, else the reason to stop."""
        lease = self._leases.get(lease_id)
        if self._groups[group_id].generation != generation or lease is None or lease.is_over:
            self._refused += 1
            return "this attempt is over"
        lease.hear(event)
        self._last_progress = lease.heard_at
        if event["kind"] != "tick":  # a tick only asks whether to go on
            lease.events.put_nowait(event)
        if lease.is_cancelled or not (lease.wants_checkpoint and event.get("can_save")):
            return lease.is_cancelled
        lease.wants_checkpoint = False
        return SAVE_NOW

    async def finished(self, group_id: str, generation: int, lease_id: str, event: dict[str, Any]) -> None:
        """The end of a segment: reached, cancelled or failed; the group is free again unless it says it leaves."""
        group = self._groups[group_id]
        if group.generation != generation or group.lease_id != lease_id:  # a second failing rank speaks too
            self._refused += 1
            return
        group.lease_id = None
        group.finished_runs += 1
        self._clocks.ended()
        self._fruitless.pop(group_id, None)
        self._end(lease_id, event)
        if event.get("group_leaves"):
            return
        if group_id in self._leaving:
            await self._give(group, None)
        else:
            self._offer(group_id, group)

    # ---- spoken by trial drivers

    async def lease(self, lease_id: str, job: dict[str, Any]) -> str:
        """Wait for a free group of the job's shape and hand it the job; its id."""
        shape = str(job.get("shape", ""))
        while True:
            ticket = await self._idle.take(shape, self._stopped)
            if ticket is None:
                self._leases[lease_id] = Lease(group_id="")
                self._end(lease_id, {"kind": "cancelled", "reason": self._stopping})
                return ""
            if lease_id in self._abandoned:  # its driver died while it waited
                self._idle.offer(shape, ticket)
                return ""
            group_id, generation = ticket
            group = self._groups[group_id]
            if group.generation == generation and group.is_idle:  # else it died meanwhile, or was sent home
                break
        group.is_idle = False
        self._clocks.leased(group)
        self._leases[lease_id] = Lease(group_id=group_id, spent_s=float(job.get("spent_s", 0.0)))
        group.lease_id = lease_id
        self._last_progress = time.time()
        await self._give(group, {"lease_id": lease_id, **job})
        return group_id

    async def event(self, lease_id: str) -> dict[str, Any]:
        """The next word about a lease, in order; after the last one the lease is forgotten."""
        lease = self._leases[lease_id]
        event = await lease.events.get()
        if lease.is_over and lease.events.empty():
            del self._leases[lease_id]
        return event

    # ---- spoken by the sweep's driver

    async def cancel(self, lease_id: str, reason: str) -> None:
        """Tell the group directly: through the trial this deadlocks (the trial learns of a stop too late)."""
        if lease := self._leases.get(lease_id):
            lease.is_cancelled = reason
        else:
            self._abandoned.add(lease_id)

    async def save_soon(self, lease_id: str) -> None:
        """The run's machine is about to go: it writes a checkpoint at its next tick."""
        if lease := self._leases.get(lease_id):
            lease.wants_checkpoint = True

    async def stop(self, reason: str) -> None:
        """Cancel every run at its next evaluation and start no further one."""
        self._stopping = reason
        self._stopped.set()
        for lease_id in list(self._leases):
            await self.cancel(lease_id, reason)

    async def close(self) -> None:
        """Send every group home after its current job."""
        self._closed = True
        for group in self._groups.values():
            await self._give(group, None)

    async def send_home(self, group_id: str) -> None:
        """End a group, after its present segment if it has one: its room is wanted for another."""
        self._leaving.add(group_id)
        group = self._groups.get(group_id)
        if group is not None and group.is_idle:
            group.is_idle = False
            await self._give(group, None)

    async def standing(self) -> dict[str, Any]:
        """How long each group has been idle (None = it is not), and how many segments wait for one, by shape."""
        now = time.time()
        return {
            "idle_s": {name: now - one.idle_since if one.is_idle else None for name, one in self._groups.items()},
            "waiting": self._idle.waiting(),
        }

    async def condition(self) -> dict[str, Any]:
        """What the watchdog looks at."""
        now = time.time()
        return {
            "idle_for_s": now - self._last_progress,
            "is_closed": self._closed,
            "groups": {name: one.to_data(now) for name, one in self._groups.items() if self._counts(name, one)},
            "fruitless_restarts": dict(self._fruitless),
            "start_errors": dict(self._start_errors),
            "refused": self._refused,
            "leases": {name: lease.to_data(now) for name, lease in self._leases.items() if not lease.is_over},
        }

    async def times(self) -> dict[str, Any]:
        """When runs began and ended, and how long groups stood idle between two; asked once, at the end."""
        return asdict(self._clocks)

    async def give_up(self, group_id: str, generation: int, lease_id: str | None, cause: str, reason: str) -> bool:
        """Take a group's incarnation for dead: its run is lost, its ticket and its words are stale.

        Args:
            group_id: the group.
            generation: its incarnation.
            lease_id: what it held when the caller looked; None = nothing.
            cause: class of the failure, for the failure policy.
            reason: the same in words.

        Returns:
            Whether it was this incarnation with this lease; the caller then ends its processes, and Ray Train brings
            it back.
        """
        group = self._groups.get(group_id)
        if group is None or group.generation != generation or group.lease_id != lease_id:
            return False
        group.heard_at, group.generation = time.time(), group.generation + 1
        if group.lease_id:
            kind = "failed" if cause == "time_limit" else "lost"
            self._end(group.lease_id, {"kind": kind, "cause": cause, "reason": reason, "error": reason})
            group.lease_id, group.lost_a_run = None, True
        group.is_idle = False
        async with group.arrived:
            group.arrived.notify_all()
        return True

    def _counts(self, group_id: str, group: Group) -> bool:
        """Whether a group is at work or will be."""
        return bool(group.lease_id) or group_id not in self._leaving

    def _offer(self, group_id: str, group: Group) -> None:
        group.is_idle, group.idle_since = True, time.time()
        self._idle.offer(group.shape, (group_id, group.generation))

    async def _give(self, group: Group, job: dict[str, Any] | None) -> None:
        async with group.arrived:
            group.jobs.append(job)
            group.arrived.notify_all()

    def _end(self, lease_id: str, event: dict[str, Any]) -> None:
        lease = self._leases.get(lease_id)
        if lease is None or lease.is_over:
            self._refused += 1
            return
        lease.is_over, self._last_progress = True, time.time()
        group = self._groups.get(lease.group_id)
        if event.get("cause", event["kind"]) in ("lost", "stalled") and group and group.is_on(self._taken_nodes()):
            event = {**event, "cause": NODE_LOST}  # the run went with its machine, or hangs because a peer did
        lease.events.put_nowait(lease.with_lost_steps(event))
