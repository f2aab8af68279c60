"""What a fault is, and how one is played: start a sweep, strike, do what the message says, measure."""

from __future__ import annotations

import subprocess
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults import training_log
from tests.faults.rig import Rig, RigError
from tests.faults.rows import Row

ENDED_WELL = (0,)


@dataclass(frozen=True, kw_only=True)
class Fault:
    """One row of the matrix: how it is injected and what has to hold."""

    name: str
    title: str
    how: str
    """How it is injected, in a sentence."""
    told: str
    """Regular expression of a line that names the cause."""
    strike: Callable[[Rig], None] | None = None
    """Injects the fault in the middle of a run; None = `prepare` has done it before the start."""
    prepare: Callable[[Rig], None] | None = None
    mend: Callable[[Rig], None] | None = None
    """What a user does before giving the same command again."""
    ends: tuple[int, ...] = ENDED_WELL
    """Statuses that the disturbed command may end with."""
    goes_on: bool = True
    """Whether the same command, if it is needed, finishes the sweep with status 0."""
    finishes: bool = True
    """Whether every slot of the undisturbed sweep is there in the end."""
    world_size: int = 1
    plugins: tuple[str, ...] = ()
    overrides: tuple[str, ...] = ()
    closed: int = 2
    """Slots that have to be closed before the strike."""
    unsaved: int = 5
    """Steps beyond the last checkpoint at the strike."""
    with_checkpoint: bool = False
    """Strike only in a run that has a checkpoint."""
    ends_workers: bool = False
    """Whether training can only go on in new processes; steps of the old ones, which may live on, are no progress."""
    check: Callable[[Rig, Row], None] | None = None
    """Further guarantees: adds to the row's problems and notes."""
    cannot: Callable[[], str] = field(default=lambda: "")
    """Why it cannot be injected here; "" = it can."""


class Bench:
    """A folder with the prepared data, the undisturbed sweeps and one folder a fault."""

    def __init__(self, folder: Path, *, away_s: float) -> None:
        self.folder, self.away_s = folder, away_s
        self._undisturbed: dict[int, Rig] = {}

    def rig(self, name: str, *, world_size: int = 1, plugins: tuple[str, ...] = ()) -> Rig:
        """A new sweep's folder."""
        return Rig(self.folder / name, self.folder / "cache", world_size=world_size, plugins=plugins)

    def undisturbed(self, world_size: int) -> Rig:
        """The sweep that nobody disturbs; finished once, and again at each call at no cost."""
        if world_size not in self._undisturbed:
            rig = self.rig(f"undisturbed-{world_size}", world_size=world_size)
            try:
                rig.start()
                status = rig.finish()
            finally:
                rig.end_all()
            if status:
                raise RigError(f"the undisturbed sweep ended with {status}: {rig.said()[-800:]}")
            self._undisturbed[world_size] = rig
        return self._undisturbed[world_size]


def play(fault: Fault, bench: Bench) -> Row:
    """Inject one fault into a new sweep and measure what becomes of it."""
    row = Row(name=fault.name, title=fault.title, how=fault.how, when=time.strftime("%Y-%m-%d %H:%M"), commit=commit())
    if reason := fault.cannot():
        row.not_run = reason
        return row
    expected = bench.undisturbed(fault.world_size).results()
    rig = bench.rig(f"{fault.name}-{time.time_ns() // 10**6}", world_size=fault.world_size, plugins=fault.plugins)
    rig.overrides = list(fault.overrides)
    rig.away_s = bench.away_s
    began = time.time()
    try:
        _play(fault, rig, row)
        _measure(fault, rig, row, expected)
    except Exception as error:  # one fault that cannot be measured must not hide the others
        row.problems.append(f"not measured: {type(error).__name__}: {str(error)[:600]}")
        (rig.folder / "error.txt").write_text(traceback.format_exc())
    finally:
        row.statuses = list(rig.statuses)
        left = rig.end_all()
        row.seconds = time.time() - began
    if left:
        row.notes.append(f"processes that were left afterwards and had to be ended: {', '.join(sorted(left))}")
    return row


def _play(fault: Fault, rig: Rig, row: Row) -> None:
    if fault.prepare:
        fault.prepare(rig)
    rig.start()
    if fault.strike:
        before = rig.wait_mid_run(closed=fault.closed, unsaved=fault.unsaved, with_checkpoint=fault.with_checkpoint)
    else:
        before = rig.wait_closed(fault.closed)
    row.finished_before = len(before)
    moment = time.time()
    old = {line.pid for line in rig.lines()} if fault.ends_workers else set()
    if fault.strike:
        fault.strike(rig)
    status = rig.finish()
    row.expected = [list(fault.ends)]
    row.went_on = "by itself"
    if status and fault.goes_on:
        if fault.mend:
            fault.mend(rig)
        rig.start()
        moment = rig.started_s
        rig.finish()
        row.expected.append([0])
        row.went_on = "same command"
    elif status:
        row.went_on = "the other cells, by themselves"
    after = rig.slots()
    row.lost = [n for n, attempt in before.items() if not (after[n].is_closed and after[n].attempt == attempt)]
    if fault.strike or len(rig.statuses) > 1:
        row.progress_s = training_log.first_step_after(rig.lines(), moment, rig.seen_before | old)


def _measure(fault: Fault, rig: Rig, row: Row, expected: dict[str, object]) -> None:
    repeated = training_log.repetition(rig.lines(), rig.spoiled)
    row.steps_repeated, row.steps_allowed = repeated.steps, repeated.allowed
    row.told, row.told_where = rig.find_line(fault.told)
    found = rig.results()
    row.other_slots = [name for name, result in expected.items() if found.get(name) != result]
    row.same_slots = len(expected) - len(row.other_slots)
    row.finishes = fault.finishes
    if fault.check:
        fault.check(rig, row)


def commit() -> str:
    """The commit that is measured, and whether files differ from it."""
    try:
        words = ["git", "describe", "--always", "--dirty=+", "--abbrev=7", "--exclude=*"]
        return subprocess.run(
            words, capture_output=True, text=True, check=True, cwd=Path(__file__).parent
        ).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"
