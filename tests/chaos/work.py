"""What each kill cost: optimiser steps that were done again, against those that no checkpoint held."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from orchestrator.ledger.records import SlotRecord
from tests.chaos.schedule import ENDS_CLUSTER
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
    orphans: int = 0
    """Processes of the command that outlived the kill of its cluster."""
    orphans_s: float = 0.0
    """Seconds until the last of them was gone."""
    orphan_steps: int = 0
    """Optimiser steps that orphans took after the kill."""


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
            outlived = [s for s in hit.descendants if s.gone_s is None or s.gone_s > hit.at_s]
            cost.orphans = len(outlived)
            cost.orphans_s = max((s.gone_s - hit.at_s for s in outlived if s.gone_s), default=0.0)
            pids = {pid for run in hit.in_flight for pid in run.pids} - set(hit.pids)
            late = [x for x in lines if x.kind == "step" and x.rank == 0 and x.pid in pids and x.time_s > hit.at_s]
            cost.orphan_steps = 0 if hit.kind in ("term", "int") else len(late)
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
    times = [
        time_s
        for time_s, key, attempt in moments
        if time_s > hit.at_s and (not ended or any(key == k and attempt > a for k, a in ended))
    ]
    return min(times) - hit.at_s if times else None
