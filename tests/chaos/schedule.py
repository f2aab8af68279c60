"""Which kill falls when: drawn once from a seed, before anything starts."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass

KINDS = ("worker", "group", "driver", "raylet", "gcs", "term", "int")
"""One DDP worker, all workers of a group, the command, the raylet, the GCS server (SIGKILL); SIGTERM and SIGINT to the
command."""
ENDS_DRIVER = frozenset({"driver", "term", "int"})
ENDS_CLUSTER = frozenset({"driver", "raylet", "gcs", "term", "int"})

WORK, START_UP, RECOVERY, REPORT = "work", "start-up", "recovery", "report"


@dataclass(frozen=True, kw_only=True)
class PlannedKill:
    """One kill: what is hit, and at which moment."""

    number: int
    kind: str
    moment: str
    """work: when a share of all work is done. start-up: some seconds after the command was started. recovery: some
    seconds after the kill before. report: when every run is closed and the command is about to end."""
    share: float = 0.0
    """For work: share of the undisturbed sweep's optimiser steps and fits."""
    delay_s: float = 0.0
    """Seconds to wait once the moment has come."""


def draw_schedule(count: int, kinds: Sequence[str], seed: int) -> list[PlannedKill]:
    """`count` kills in order: kinds as evenly as possible, work shares one in each n-th part, the rest in between."""
    rng = random.Random(seed)
    drawn = [kinds[i % len(kinds)] for i in range(count)]
    rng.shuffle(drawn)
    special = max(1, count // 10) if count >= 4 else 0
    at_the_end = [_take(drawn, ENDS_DRIVER) for _ in range(special)]
    early = [_take(drawn, ENDS_CLUSTER) for _ in range(special)]
    during_recovery = [drawn.pop() if drawn else "" for _ in range(special)]
    work = len(drawn)
    kills = [
        PlannedKill(number=0, kind=kind, moment=WORK, share=0.97 * (i + rng.random()) / work, delay_s=rng.uniform(0, 1))
        for i, kind in enumerate(drawn)
    ]
    for kind in filter(None, during_recovery):
        kills.insert(*_after(kills, rng, frozenset(KINDS) - ENDS_DRIVER, kind, RECOVERY, rng.uniform(0.5, 6)))
    for kind in filter(None, early):
        kills.insert(*_after(kills, rng, ENDS_DRIVER, kind, START_UP, rng.uniform(0.5, 12)))
    for kind in filter(None, at_the_end):
        kills.append(PlannedKill(number=0, kind=kind, moment=REPORT, share=1.0, delay_s=rng.uniform(0, 3)))
    return [
        PlannedKill(number=i, kind=k.kind, moment=k.moment, share=k.share, delay_s=k.delay_s)
        for i, k in enumerate(kills, start=1)
    ]


def _take(drawn: list[str], wanted: frozenset[str]) -> str:
    """The first kind that is wanted, removed from what is drawn; "" where there is none."""
    found = next((kind for kind in drawn if kind in wanted), "")
    if found:
        drawn.remove(found)
    return found


def _after(
    kills: Sequence[PlannedKill], rng: random.Random, kinds: frozenset[str], kind: str, moment: str, delay_s: float
) -> tuple[int, PlannedKill]:
    """Place and kill: behind a random one of `kinds`, else in front of all (a start-up is the first one then)."""
    places = [i + 1 for i, k in enumerate(kills) if k.kind in kinds and k.moment == WORK]
    place = rng.choice(places) if places else 0
    if place == 0:
        moment = START_UP
    return place, PlannedKill(number=0, kind=kind, moment=moment, delay_s=delay_s)
