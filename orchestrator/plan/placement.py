"""Which worker groups a sweep starts, and which it ends to make room for groups of another shape. Pure.

The rules, in their order:

1. A group that fits beside the others is started as soon as a run waits for one of its shape.
2. A group that has had nothing to do for `IDLE_S`, while nothing waits for its shape, is ended where another shape's
   run waits for its room.
3. No GPU stands still for want of a CPU: groups without GPUs are ended for one that needs a free GPU.
4. Nobody starves: a shape that has waited for `TURN_S` without any group gets one. As many groups of other shapes as
   it needs are ended after their present segment, and nothing else is started in their room. They get their own turn
   in the same way, so shapes that do not fit side by side take turns.

None of it changes a result: the order of events decides nothing about a sweep.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.plan.shapes import GroupShape

IDLE_S = 10.0
"""About what it costs to start a group."""
TURN_S = 300.0
"""Long against the start of a group, so that turns cost little."""
STUCK_S = 60.0
"""A group that is not placed for so long waits for room that only looks free (on machines too small for it)."""


@dataclass(frozen=True)
class Room:
    """What worker groups may take together."""

    cpus: float = math.inf
    gpus: float = math.inf
    groups: float = math.inf

    def holds(self, shape: GroupShape) -> bool:
        """Whether one more group of a shape fits."""
        return self.groups >= 1 and self.cpus >= shape.all_cpus and self.gpus >= shape.all_gpus

    def plus(self, shape: GroupShape) -> Room:
        """With the room of a group more."""
        return Room(self.cpus + shape.all_cpus, self.gpus + shape.all_gpus, self.groups + 1)

    def less(self, shape: GroupShape) -> Room:
        """With the room of a group less."""
        return Room(self.cpus - shape.all_cpus, self.gpus - shape.all_gpus, self.groups - 1)

    def count(self, shape: GroupShape) -> float:
        """How many groups of one shape fit side by side; infinite where nothing limits them."""
        by_gpus = self.gpus / shape.all_gpus if shape.all_gpus else math.inf
        most = min(self.groups, self.cpus / shape.all_cpus, by_gpus)
        return most if math.isinf(most) else max(0, int(most + 1e-9))


def first_groups(work: Mapping[GroupShape, tuple[int, float]], room: Room) -> list[GroupShape]:
    """The groups that a sweep starts with: one of each shape, then those with the most work left for each.

    Args:
        work: by shape, how many runs are left, and how many seconds they take on one group.
        room: what they may take together; something of it must be finite.
    """
    counts: Counter[GroupShape] = Counter()

    def left(shape: GroupShape) -> tuple[bool, bool, float, GroupShape]:
        return not counts[shape], shape.gpus > 0, work[shape][1] / max(1, counts[shape]), shape

    while fitting := [shape for shape in work if counts[shape] < work[shape][0] and room.holds(shape)]:
        best = max(fitting, key=left)
        counts[best] += 1
        room = room.less(best)
    return sorted(counts.elements(), reverse=True)


@dataclass(frozen=True, kw_only=True)
class Held:
    """A group that has been started and has not gone yet."""

    name: str
    shape: GroupShape
    state: Literal["starting", "idle", "busy", "leaving"]
    for_s: float
    """How long it has been in this state."""


@dataclass(frozen=True)
class Moves:
    """What is to be done now."""

    start: tuple[GroupShape, ...] = ()
    end: tuple[str, ...] = ()
    """Names of groups that leave after their present segment."""


class Placement:
    """Decides by the rules of the module; remembers since when a shape waits without a group."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._without_since: dict[GroupShape, float] = {}
        self._helped_at = -math.inf

    def decide(self, now_s: float, held: Sequence[Held], waiting: Mapping[GroupShape, int]) -> Moves:
        """What to start and what to end.

        Args:
            now_s: a clock that never goes back.
            held: all groups.
            waiting: how many segments wait for a group, by shape; shapes that nobody waits for may be left out.
        """
        self._note(now_s, held, waiting)
        free, coming = self._room, Room(0, 0, 0)
        for one in held:
            free = free.less(one.shape)
            if one.state == "leaving":
                coming = coming.plus(one.shape)
        start: list[GroupShape] = []
        end: list[Held] = []
        for shape in self._order(waiting):
            mine = [one for one in held if one.shape == shape and one.state in ("idle", "starting")]
            if any(one.state == "starting" and one.for_s >= STUCK_S for one in mine):
                end += self._help(now_s, shape, held)
                continue
            for _ in range(waiting[shape] - len(mine)):
                if free.holds(shape):
                    start.append(shape)
                    free = free.less(shape)
                    continue
                staying = [one for one in held if one not in end and one.state != "leaving" and one.shape != shape]
                leaving = self._leaving_for(now_s, shape, _sum(free, coming), staying, waiting)
                if leaving is None:
                    break
                end += leaving
                for one in leaving:
                    coming = coming.plus(one.shape)
                free, coming = _taken(free, coming, shape)  # spoken for: nothing smaller slips in
        return Moves(tuple(start), tuple(one.name for one in end))

    def _note(self, now_s: float, held: Iterable[Held], waiting: Mapping[GroupShape, int]) -> None:
        with_groups = {one.shape for one in held if one.state != "leaving"}
        without = {shape for shape, count in waiting.items() if count and shape not in with_groups}
        self._without_since = {shape: self._without_since.get(shape, now_s) for shape in sorted(without)}

    def _order(self, waiting: Mapping[GroupShape, int]) -> list[GroupShape]:
        """Shapes without a group first, the longest waiting before the others; then those with GPUs."""
        wanted = [shape for shape, count in waiting.items() if count]
        return sorted(wanted, key=lambda one: (self._without_since.get(one, math.inf), -one.all_gpus, one))

    def _leaving_for(
        self,
        now_s: float,
        shape: GroupShape,
        room: Room,
        staying: Sequence[Held],
        waiting: Mapping[GroupShape, int],
    ) -> list[Held] | None:
        """Who leaves so that a group of a shape fits; None = it has to wait, and nothing is kept free for it."""
        idle = [one for one in staying if _is_idle(one) and not waiting.get(one.shape)]
        found = _enough(shape, room, sorted(idle, key=lambda one: -one.for_s))
        if found is None and 0 < shape.all_gpus <= room.gpus:
            found = _enough(shape, room, sorted((one for one in staying if not one.shape.gpus), key=_ease))
        if found is None and now_s - self._without_since.get(shape, math.inf) >= TURN_S:
            found = _enough(shape, room, sorted(staying, key=_ease))
        return found

    def _help(self, now_s: float, shape: GroupShape, held: Sequence[Held]) -> list[Held]:
        """One group that leaves for one that is not placed although the room looks free; not too often."""
        if now_s - self._helped_at < STUCK_S or any(one.state == "leaving" for one in held):
            return []
        others = [one for one in held if one.shape != shape and one.state != "starting"]
        has_one = any(one.shape == shape and one.state != "starting" for one in held)
        able = [one for one in others if _is_idle(one)] or ([] if has_one else others)
        if able:
            self._helped_at = now_s
        return sorted(able, key=_ease)[:1]


def _is_idle(one: Held) -> bool:
    return one.state == "idle" and one.for_s >= IDLE_S


def _ease(one: Held) -> tuple[int, float, str]:
    """Who goes first: a group that has nothing to do, then one that has not started, then the longest at work."""
    return ("idle", "starting", "busy").index(one.state), -one.for_s, one.name


def _enough(shape: GroupShape, room: Room, able: Sequence[Held]) -> list[Held] | None:
    """The fewest of those who are able to leave, in their order, so that a group of a shape fits; None = too few."""
    chosen: list[Held] = []
    for one in able:
        if room.holds(shape):
            break
        chosen.append(one)
        room = room.plus(one.shape)
    if not room.holds(shape):
        return None
    for one in list(chosen):
        if room.less(one.shape).holds(shape):
            chosen.remove(one)
            room = room.less(one.shape)
    return chosen


def _sum(one: Room, other: Room) -> Room:
    return Room(one.cpus + other.cpus, one.gpus + other.gpus, one.groups + other.groups)


def _taken(free: Room, coming: Room, shape: GroupShape) -> tuple[Room, Room]:
    """What is left of the free and of the coming room when a group takes the free room first."""
    needed = (shape.all_cpus, shape.all_gpus, 1)
    from_free = [max(0.0, min(a, b)) for a, b in zip((free.cpus, free.gpus, free.groups), needed, strict=True)]
    rest = [a - b for a, b in zip(needed, from_free, strict=True)]
    return (
        Room(free.cpus - from_free[0], free.gpus - from_free[1], free.groups - from_free[2]),
        Room(coming.cpus - rest[0], coming.gpus - rest[1], coming.groups - rest[2]),
    )
