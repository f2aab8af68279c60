"""What each kill cost: optimiser steps that were done again, against those that no checkpoint held."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.ledger.records import SlotRecord
from tests.chaos.schedule import ENDS_CLUSTER, ENDS_DRIVER
from tests.chaos.strike import Hit
from tests.faults.training_log import Line


@dataclass(frozen=True, kw_only=True)
class Loss:
    """One run that went on in a new attempt after a kill."""

    slot: str
    key: str
    attempt: int
    """The attempt that a kill ended."""
    reached: int
    """Last step of that attempt and all before, an orphan's included."""
    checkpoint: int
    """Step of the newest checkpoint when the next attempt took its first step."""
    resumed: int
    """Step from which the next attempt went on."""
    repeated: int
    """Steps that were done again."""
    begun_s: float
    """Time of the next attempt's first step."""

    @property
    def limit(self) -> int:
        """Steps that no checkpoint held."""
        return max(0, self.reached - self.checkpoint)

    @property
    def is_within(self) -> bool:
        return self.repeated <= self.limit


@dataclass(kw_only=True)
class Cost:
    """What one kill cost."""

    losses: list[Loss] = field(default_factory=list)
    fits: list[str] = field(default_factory=list)
    """Estimator runs that were fitted again: they have no steps and no checkpoints."""
    reaction_s: float | None = None
    """Seconds until a run that was hit (or, where none was, any run) made progress again; None = not before the end
    or the next kill's reaction."""
    orphans: dict[str, float] = field(default_factory=dict)
    """Processes that outlived the kill of their cluster or the end of their command, and for how many seconds."""
    orphan_steps: int = 0
    """Optimiser steps that orphans took after the kill."""
    orphan_training_s: float = 0.0
    """Seconds from the kill to the last of them."""


def losses(lines: Sequence[Line], slots: Mapping[str, SlotRecord]) -> list[Loss]:
    """Every change from one attempt at a run to the next one that took a step."""
    names = {record.key: slot for slot, record in sorted(slots.items(), reverse=True)}
    by_key: dict[str, list[Line]] = {}
    for line in sorted(lines):
        if line.rank == 0:
            by_key.setdefault(line.key, []).append(line)
    found = []
    for key, of_key in by_key.items():
        attempts = sorted({line.attempt for line in of_key if line.kind == "step"})
        for old, new in zip(attempts, attempts[1:], strict=False):
            begun = next(line for line in of_key if line.kind == "step" and line.attempt == new)
            before = [line for line in of_key if line.time_s < begun.time_s and line.attempt <= old]
            reached = max((line.step for line in before if line.kind == "step"), default=0)
            again = {line.step for line in of_key if line.kind == "step" and line.attempt == new}
            done = {line.step for line in before if line.kind == "step"}
            found.append(
                Loss(
                    slot=names.get(key, key),
                    key=key,
                    attempt=old,
                    reached=reached,
                    checkpoint=max((line.step for line in before if line.kind == "saved"), default=0),
                    resumed=begun.step - 1,
                    repeated=len(again & done),
                    begun_s=begun.time_s,
                )
            )
    return found


def costs(
    hits: Sequence[Hit],
    lines: Sequence[Line],
    moments: Sequence[tuple[float, str, int]],
    slots: Mapping[str, SlotRecord],
) -> list[Cost]:
    """The cost of each kill, in their order."""
    found = [Cost() for _ in hits]
    ended: dict[int, list[tuple[str, int]]] = {index: [] for index in range(len(hits))}
    for loss in losses(lines, slots):
        index = _killer(hits, loss.key, loss.attempt)
        if index is None:  # it was waiting when the kill fell, and an orphan took it up
            index = max((i for i, hit in enumerate(hits) if hit.at_s < loss.begun_s), default=None)
        if index is not None:
            found[index].losses.append(loss)
            ended[index].append((loss.key, loss.attempt))
    with_steps = {line.key for line in lines}
    for index, hit in enumerate(hits):
        for run in hit.in_flight:
            is_again = any(later.attempt > run.attempt for later in _later_attempts(hits, slots, index, run.slot))
            if run.key not in with_steps and is_again and _killer(hits, run.key, run.attempt) == index:
                found[index].fits.append(run.slot)
                ended[index].append((run.key, run.attempt))
    for index, (hit, cost) in enumerate(zip(hits, found, strict=True)):
        cost.reaction_s = _reaction(hit, ended[index], moments)
        if hit.kind in ENDS_CLUSTER:
            ended_s = hit.at_s + (hit.gone_after_s if hit.kind in ENDS_DRIVER else 0.0)
            outlived = [s for s in hit.descendants if s.gone_s is None or s.gone_s > ended_s]
            cost.orphans = {str(s): round((s.gone_s or math.inf) - ended_s, 1) for s in outlived}
            pids = {process.pid for process in outlived}
            late = [x for x in lines if x.kind == "step" and x.rank == 0 and x.pid in pids and x.time_s > ended_s]
            cost.orphan_steps = len(late)
            cost.orphan_training_s = max((line.time_s - ended_s for line in late), default=0.0)
    return found


def _killer(hits: Sequence[Hit], key: str, attempt: int) -> int | None:
    """Which kill ended an attempt: one that hit its processes or its cluster, else the last one that saw it running."""
    saw = None
    for index, hit in enumerate(hits):
        run = next((f for f in hit.in_flight if (f.key, f.attempt) == (key, attempt)), None)
        if run is None:
            continue
        if hit.kind in ENDS_CLUSTER or set(run.pids) & set(hit.pids):
            return index
        saw = index
    return saw


def _later_attempts(hits: Sequence[Hit], slots: Mapping[str, SlotRecord], index: int, slot: str) -> list[SlotRecord]:
    later = [hit.closed[slot] for hit in hits[index + 1 :] if slot in hit.closed]
    return later + ([slots[slot]] if slot in slots else [])


def _reaction(hit: Hit, ended: Sequence[tuple[str, int]], moments: Sequence[tuple[float, str, int]]) -> float | None:
    """Seconds to the next progress: of a run that was hit, or of any new attempt where the whole cluster was lost."""
    if hit.kind in ENDS_CLUSTER:
        known = {run.key: run.attempt for run in hit.in_flight}
        for time_s, key, attempt in moments:
            if time_s <= hit.at_s:
                known[key] = max(attempt, known.get(key, 0))
        times = [t for t, key, attempt in moments if t > hit.at_s and attempt > known.get(key, 0)]
    else:
        again = [t for t, key, attempt in moments if any(key == k and attempt > a for k, a in ended)]
        times = again or [t for t, _, _ in moments if t > hit.at_s]
    return min(times) - hit.at_s if times else None
