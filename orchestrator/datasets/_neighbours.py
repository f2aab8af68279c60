"""How near in time test images lie to training images, told from their names alone: no cube is opened."""

from __future__ import annotations

import bisect
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from orchestrator.datasets._base import FoldPlan

_HYKO2 = re.compile(r"set-_(\d{5})_spec_annotated")
_HSI_DRIVE = re.compile(r"nf(\d{4})_(\d{3})")
_HCV2 = re.compile(r"(\d{8}_\d{6})_\d+")


@dataclass(frozen=True, kw_only=True)
class NearImages:
    """Test images with a seen image within a distance."""

    what: str
    """The distance, in words."""
    near: int
    tested: int
    seen: str
    """Whose images count: train, or train and validation."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        return f"{self.near} of {self.tested} test images have a {self.seen} image {self.what}"


Place = tuple[str, float]
"""Group within which distances count, and the place on its line."""


@dataclass(frozen=True, kw_only=True)
class _Rule:
    place: Callable[[str], Place | None]
    distances: tuple[tuple[float, str], ...]
    with_validation: bool = False


def _frame(name: str) -> Place | None:
    found = _HYKO2.fullmatch(name)
    return ("", float(found[1])) if found else None


def _running_number(name: str) -> Place | None:
    found = _HSI_DRIVE.fullmatch(name)
    return (found[1], float(found[2])) if found else None


def _time(name: str) -> Place | None:
    found = _HCV2.fullmatch(name)
    try:
        return ("", datetime.strptime(found[1], "%Y%m%d_%H%M%S").timestamp()) if found else None
    except ValueError:
        return None


_OF_ONE_CODE = "of the same condition code with a number within"
RULES = (
    _Rule(place=_frame, distances=((45, "within 45 frames"),)),
    _Rule(place=_running_number, distances=tuple((step, f"{_OF_ONE_CODE} {step}") for step in (1, 2, 5))),
    _Rule(place=_time, distances=tuple((s, f"within {s} s") for s in (5, 10)), with_validation=True),
)


def near_images(fold: FoldPlan) -> tuple[NearImages, ...]:
    """Counts for the first naming rule that all names of the fold follow; none where there is none."""
    everyone = (*fold.train, *fold.validation, *fold.test)
    for rule in RULES:
        if everyone and all(rule.place(name) is not None for name in everyone):
            seen = (*fold.train, *fold.validation) if rule.with_validation else fold.train
            return tuple(_counted(rule, seen, fold.test, distance, what) for distance, what in rule.distances)
    return ()


def _counted(rule: _Rule, seen: Sequence[str], tested: Sequence[str], distance: float, what: str) -> NearImages:
    lines: dict[str, list[float]] = defaultdict(list)
    for group, at in _places(rule, seen):
        lines[group].append(at)
    for line in lines.values():
        line.sort()
    near = sum(_is_near(lines.get(group, []), at, distance) for group, at in _places(rule, tested))
    name = "train or validation" if rule.with_validation else "train"
    return NearImages(what=what, near=near, tested=len(tested), seen=name)


def _places(rule: _Rule, names: Iterable[str]) -> list[Place]:
    return [place for name in names if (place := rule.place(name)) is not None]


def _is_near(line: list[float], at: float, distance: float) -> bool:
    index = bisect.bisect_left(line, at - distance)
    return index < len(line) and line[index] <= at + distance
