"""What the hub knows of a worker group, and of a run segment that one has leased."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

SAVE_NOW = "save now"
"""Answer to a tick: write a checkpoint, then go on."""


@dataclass
class Group:
    """A worker group's newest incarnation."""

    generation: int
    places: list[dict[str, Any]]
    """Node, host and process number of each rank."""
    jobs: list[dict[str, Any] | None] = field(default_factory=list)
    arrived: asyncio.Condition = field(default_factory=asyncio.Condition)
    lease_id: str | None = None
    shape: str = ""
    """Of which shape it is; a run is leased to groups of its own shape alone."""
    is_idle: bool = False
    """Whether it waits for a run."""
    lost_a_run: bool = False
    """Whether it was given up with a run in its hands: that counts against the run, not against the group."""
    finished_runs: int = 0
    idle_since: float = field(default_factory=time.time)
    heard_at: float = field(default_factory=time.time)

    def is_on(self, nodes: Collection[str]) -> bool:
        """Whether any rank is on one of these nodes."""
        return any(place["node_id"] in nodes for place in self.places)

    def to_data(self, now: float) -> dict[str, Any]:
        """What the watchdog looks at."""
        return {
            "generation": self.generation,
            "lease": self.lease_id,
            "places": self.places,
            "silent_s": now - self.heard_at,
        }


@dataclass
class Clocks:
    """When runs began and ended, and how long groups stood idle between two."""

    first_lease_at: float | None = None
    last_end_at: float | None = None
    gaps_s: list[float] = field(default_factory=list)

    def leased(self, group: Group) -> None:
        """A group has got a run."""
        now = time.time()
        if group.finished_runs:
            self.gaps_s.append(now - group.idle_since)
        self.first_lease_at = self.first_lease_at or now

    def ended(self) -> None:
        """A group has ended a run."""
        self.last_end_at = time.time()


@dataclass
class Lease:
    """A segment of a run in a group's hands."""

    group_id: str
    events: asyncio.Queue[dict[str, Any]] = field(default_factory=asyncio.Queue)
    is_over: bool = False
    is_cancelled: str = ""
    wants_checkpoint: bool = False
    """Its machine is about to go: it is to save at its next tick."""
    spent_s: float = 0.0
    started: float = field(default_factory=time.time)
    heard_at: float = field(default_factory=time.time)
    step: int = 0
    """Optimiser step of its last word."""
    saved_step: int = 0
    """Step of its newest checkpoint at that time."""

    def hear(self, event: Mapping[str, Any]) -> None:
        """A word of its worker: it is alive, and may say how far it is. An evaluation is told after its checkpoint."""
        self.heard_at = time.time()
        if "step" in event:
            self.step = int(event["step"])
            self.saved_step = int(event.get("saved_step", self.step))

    def with_lost_steps(self, event: dict[str, Any]) -> dict[str, Any]:
        """A bad end, with the steps that no checkpoint holds: another attempt trains them again."""
        is_bad = event["kind"] in ("lost", "failed")
        return {**event, "lost_steps": max(0, self.step - self.saved_step)} if is_bad else event

    def to_data(self, now: float) -> dict[str, Any]:
        """What the watchdog looks at."""
        return {
            "seconds": self.spent_s + now - self.started,
            "silent_s": now - self.heard_at,
            "group": self.group_id,
        }
