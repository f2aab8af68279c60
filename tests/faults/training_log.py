"""What was trained, and what was trained twice, from the lines that the step probe wrote."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, order=True)
class Line:
    """One optimiser step or one checkpoint of one rank."""

    time_s: float
    kind: str
    """step or saved."""
    key: str
    attempt: int
    rank: int
    step: int
    pid: int = 0


@dataclass(frozen=True)
class Repetition:
    """Optimiser steps of rank 0 that were made more than once, and how many were allowed to be."""

    steps: int
    allowed: int
    """Steps between the last checkpoint and the end of each attempt that was followed by another one."""


def read_lines(folder: Path) -> list[Line]:
    """All lines in the order of time; a line that is being written is left out."""
    lines = []
    for file in folder.glob("*.log"):
        for text in file.read_text().splitlines(keepends=True):
            words = text.split()
            if text.endswith("\n") and len(words) == 6:
                time_s, kind, key, attempt, rank, step = words
                lines.append(Line(float(time_s), kind, key, int(attempt), int(rank), int(step), int(file.stem)))
    return sorted(lines)


def repetition(lines: Iterable[Line], spoiled: Collection[tuple[str, int]] = ()) -> Repetition:
    """Steps made twice against the steps that no checkpoint held.

    Args:
        lines: of one sweep, in the order of time.
        spoiled: (key, attempt) whose checkpoint the fault itself destroyed: it counts as never written.
    """
    repeated = allowed = 0
    by_key: dict[str, list[Line]] = {}
    for line in lines:
        if line.rank == 0:
            by_key.setdefault(line.key, []).append(line)
    for of_key in by_key.values():
        made: set[int] = set()
        saved = reached = attempt = 0
        for line in of_key:
            if line.kind == "saved":
                if (line.key, line.attempt) not in spoiled:
                    saved = max(saved, line.step)
                continue
            if attempt and line.attempt > attempt:
                allowed += max(0, reached - saved)
            attempt = max(attempt, line.attempt)
            repeated += line.step in made
            made.add(line.step)
            reached = max(reached, line.step)
    return Repetition(repeated, allowed)


def unsaved_steps(lines: Iterable[Line], *, with_checkpoint: bool = False) -> int:
    """How many steps the run that trained last has gone beyond its last checkpoint.

    Args:
        lines: of one sweep, in the order of time.
        with_checkpoint: a run without any checkpoint counts as 0.
    """
    mine = [line for line in lines if line.rank == 0]
    steps = [line for line in mine if line.kind == "step"]
    if not steps:
        return 0
    newest = steps[-1]
    saved = max((line.step for line in mine if line.kind == "saved" and line.key == newest.key), default=0)
    return newest.step - saved if saved or not with_checkpoint else 0


def first_step_after(lines: Iterable[Line], moment_s: float, orphans: Collection[int] = ()) -> float | None:
    """Seconds from a moment to the next optimiser step of any run, by a process that is no orphan of a dead command."""
    steps = (line for line in lines if line.kind == "step" and line.pid not in orphans)
    return next((line.time_s - moment_s for line in steps if line.time_s > moment_s), None)
