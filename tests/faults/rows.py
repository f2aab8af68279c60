"""A row of the fault matrix, and the guarantees that it has to show."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, fields
from typing import Any

MEANINGS = {0: "done", 1: "some failed or blocked", 2: "refused or stopped", 130: "interrupted"}


@dataclass
class Row:
    """What one injected fault did to one real sweep; every figure was measured."""

    name: str
    title: str
    how: str
    when: str = ""
    commit: str = ""
    not_run: str = ""
    """Why the fault could not be injected here; "" = it was."""
    finished_before: int = 0
    """Slots that were closed when the fault struck."""
    lost: list[str] = field(default_factory=list)
    """Those of them that are not closed by the same attempt afterwards."""
    steps_repeated: int = 0
    steps_allowed: int = 0
    statuses: list[int] = field(default_factory=list)
    """Exit status of every command, in order."""
    expected: list[list[int]] = field(default_factory=list)
    """The statuses that each command may end with."""
    told: str = ""
    """The line that named the cause."""
    told_where: str = ""
    """terminal, or the log of the run."""
    went_on: str = ""
    same_slots: int = 0
    """Slots whose key, state, step, scores and parameters are those of the undisturbed sweep."""
    other_slots: list[str] = field(default_factory=list)
    """Slots of the undisturbed sweep that are absent or differ."""
    finishes: bool = True
    """Whether all slots of the undisturbed sweep have to be there in the end."""
    progress_s: float | None = None
    """From the fault, or from the start of the command that went on, to the next optimiser step."""
    seconds: float = 0.0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    """Further guarantees of this fault that did not hold, and errors of the measurement itself."""

    def to_json(self) -> dict[str, Any]:
        return {**asdict(self), "violations": violations(self)}

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Row:
        known = {f.name for f in fields(cls)}
        return cls(**{k: v for k, v in data.items() if k in known})


def violations(row: Row) -> list[str]:
    """The guarantees that do not hold; a fault that was not injected shows nothing, so it breaks nothing."""
    if row.not_run:
        return []
    found = list(row.problems)
    if row.lost:
        found.append(f"finished before, not afterwards: {', '.join(row.lost)}")
    if row.steps_repeated > row.steps_allowed:
        found.append(f"{row.steps_repeated} steps repeated, {row.steps_allowed} were not in a checkpoint")
    if not row.told:
        found.append("no line names the cause")
    if len(row.statuses) != len(row.expected):
        found.append(f"{len(row.statuses)} commands ended, {len(row.expected)} were expected")
    for number, (status, allowed) in enumerate(zip(row.statuses, row.expected, strict=False), start=1):
        if status not in allowed:
            found.append(f"command {number} ended with {status}; expected {' or '.join(map(str, allowed))}")
    if row.finishes and row.other_slots:
        found.append(f"not as in the undisturbed sweep: {', '.join(row.other_slots)}")
    if row.finishes and not row.same_slots:
        found.append("nothing to compare with the undisturbed sweep")
    return found


def verdict(row: Row) -> str:
    """ok, not run or violated."""
    return "not run" if row.not_run else "violated" if violations(row) else "ok"
