"""One kill: choose the processes, hit them, prove that it hit."""

from __future__ import annotations

import os
import random
import signal
import time
from dataclasses import dataclass, field

from orchestrator.ledger.records import SlotRecord
from tests.chaos.command import Command
from tests.chaos.roster import Roster, Seen
from tests.chaos.schedule import ENDS_CLUSTER, PlannedKill
from tests.chaos.watch import InFlight, Watch

PROOF_LIMIT_S = 30.0
CLEAN_END_LIMIT_S = 240.0
_SIGNALS = {"term": signal.SIGTERM, "int": signal.SIGINT}


class ChaosError(Exception):
    """The shaken sweep did something after which going on would prove nothing."""


@dataclass(kw_only=True)
class Hit:
    """A kill that was delivered, and what was measured of it."""

    plan: PlannedKill
    at_s: float
    """Time since 1970."""
    pids: tuple[int, ...]
    stage: str
    in_flight: list[InFlight]
    closed: dict[str, SlotRecord]
    """Slots that were closed before the kill."""
    mark: tuple[int, int]
    """Place in the command's output."""
    descendants: list[Seen]
    """Processes of the command before the kill, except those that were hit."""
    gone_after_s: float = 0.0
    """Proof: seconds until none of the processes that were hit was left."""
    status: int | None = None
    """Exit status of the command, where this kill was meant to end it."""
    said: list[str] = field(default_factory=list)
    """What the command printed from the kill to the next one or its end."""

    @property
    def kind(self) -> str:
        return self.plan.kind


def targets(kind: str, command: Command, roster: Roster, watch: Watch, rng: random.Random) -> list[Seen]:
    """Processes that a kill of this kind hits now; none where there is no such process just now."""
    if kind in ("driver", "term", "int"):
        return [Seen(command.pid, 0.0, "driver")] if command.status() is None else []
    if kind in ("raylet", "gcs"):
        return roster.living(kind)[-1:]
    workers = roster.living("worker")
    if not workers:
        return []
    chosen = rng.choice(workers)
    if kind == "worker":
        return [chosen]
    if len(workers) <= command.world_size:  # one group, whether it has taken a step yet or not
        return workers
    mates = watch.mates(chosen.pid) | {chosen.pid}
    return [worker for worker in workers if worker.pid in mates]


def strike(plan: PlannedKill, chosen: list[Seen], command: Command, roster: Roster, watch: Watch, stage: str) -> Hit:
    """Deliver a kill.

    Raises:
        ChaosError: a process that was killed is still there, or a clean end did not come.
    """
    watch.look()
    in_flight, closed, mark = watch.in_flight(), watch.closed(), command.mark()
    pids = tuple(process.pid for process in chosen)
    others = [seen for seen in roster.living() if seen.pid not in pids]
    number = _SIGNALS.get(plan.kind, signal.SIGKILL)
    at_s = time.time()
    for pid in pids:
        os.kill(pid, number)
    hit = Hit(
        plan=plan,
        at_s=at_s,
        pids=pids,
        stage=stage,
        in_flight=in_flight,
        closed=closed,
        mark=mark,
        descendants=others,
    )
    if plan.kind in ("driver", *_SIGNALS):
        _await_end(hit, command)
    else:
        _await_gone(hit, chosen)
    if plan.kind in ENDS_CLUSTER:
        watch.new_cluster()
    return hit


def _await_gone(hit: Hit, chosen: list[Seen]) -> None:
    while any(process.is_alive() for process in chosen):
        if time.time() - hit.at_s > PROOF_LIMIT_S:
            raise ChaosError(f"kill {hit.plan.number}: {chosen} still live {PROOF_LIMIT_S:.0f} s after SIGKILL")
        time.sleep(0.01)
    hit.gone_after_s = time.time() - hit.at_s


def _await_end(hit: Hit, command: Command) -> None:
    limit_s = PROOF_LIMIT_S if hit.kind == "driver" else CLEAN_END_LIMIT_S
    while command.status() is None:
        if time.time() - hit.at_s > limit_s:
            raise ChaosError(f"kill {hit.plan.number}: the command did not end within {limit_s:.0f} s of {hit.kind}")
        time.sleep(0.02)
    hit.gone_after_s = time.time() - hit.at_s
    hit.status = command.status()
