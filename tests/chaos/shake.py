"""Run a sweep under random kills: the same command again and again until it has done everything."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from tests.chaos.command import Command
from tests.chaos.roster import Roster, Seen
from tests.chaos.schedule import ENDS_DRIVER, RECOVERY, REPORT, START_UP, WORK, PlannedKill
from tests.chaos.strike import ChaosError, Hit, strike, targets
from tests.chaos.watch import Watch

POLL_S = 0.1
LEAVING_S = 60.0
"""How long orphans may outlive the last command."""
PAUSE_AFTER_FAILURE_S = 2.0


@dataclass
class Shaken:
    """What was done to a sweep and what became of it."""

    began_s: float
    ended_s: float = 0.0
    hits: list[Hit] = field(default_factory=list)
    ends: list[tuple[float, int]] = field(default_factory=list)
    """(time, exit status) of every start of the command."""
    unexpected: list[str] = field(default_factory=list)
    """Ends and words of the command that no kill explains."""
    left: list[Seen] = field(default_factory=list)
    """Processes that were still there LEAVING_S after the last end."""
    error: str = ""
    """Why it was given up."""


class Shaking:
    """One shaken sweep; `run` returns when the command has ended with 0 and nothing is left to kill."""

    def __init__(
        self,
        command: Command,
        schedule: Sequence[PlannedKill],
        *,
        seed: int,
        limit_s: float,
        total_work: float,
        total_slots: int,
        tell: Callable[[Hit, float], None],
    ) -> None:
        self.command, self.schedule, self.limit_s = command, list(schedule), limit_s
        self.total_work, self.total_slots, self.tell = total_work, total_slots, tell
        self.rng = random.Random(f"targets {seed}")
        self.watch = Watch(command.sweep, command.steps_folder)
        self.roster = Roster(command.folder, command.token)
        self.shaken = Shaken(time.time())
        self.max_starts = len(self.schedule) + 10

    def run(self) -> Shaken:
        self.roster.start()
        try:
            self._start()
            for plan in self.schedule:
                self._deliver(plan)
            while self._poll():
                pass
        except ChaosError as error:
            self.shaken.error = str(error)
        finally:
            self.shaken.ended_s = time.time()
            self._leave()
        return self.shaken

    # ---- the command

    def _start(self) -> None:
        if self.command.starts >= self.max_starts:
            raise ChaosError(
                f"the command was started {self.max_starts} times and is not done; the last words: {self._words()}"
            )
        self.watch.look()
        self.watch.new_cluster()
        self.command.start()
        self.roster.driver_pid = self.command.pid

    def _poll(self, *, again_when_done: bool = False) -> bool:
        """Look once; start the command again where it has ended. False once it has ended with 0."""
        time.sleep(POLL_S)
        if time.time() - self.shaken.began_s > self.limit_s:
            raise ChaosError(f"not done within --minutes {self.limit_s / 60:g}; the last words: {self._words()}")
        self.watch.look()
        status = self.command.status()
        if status is None:
            return True
        self._note_end(status)
        if status == 0 and not again_when_done:
            return False
        if status != 0:
            time.sleep(PAUSE_AFTER_FAILURE_S)
        self._start()
        return True

    def _note_end(self, status: int, hit: Hit | None = None) -> None:
        self.shaken.ends.append((time.time(), status))
        words = self.command.said_after((self.command.starts, 0))
        if any(line.startswith("Traceback (most recent call last)") for line in words):
            self.shaken.unexpected.append(
                f"start {self.command.starts} printed a traceback; its last words: {words[-1]}"
            )
        last = self.shaken.hits[-1] if self.shaken.hits else None
        lost_cluster = last is not None and last.kind in ("raylet", "gcs") and last.mark[0] == self.command.starts
        expected = {"driver": (-9,), "term": (130, 0), "int": (130, 0)}.get(hit.kind, ()) if hit else (0,)
        says_how = any("the same command" in line for line in words)  # one that gives up has to say how to go on
        if status not in expected and not (hit is None and lost_cluster and status == 1 and says_how):
            after = f"after {hit.kind} (kill {hit.plan.number}, {hit.stage})" if hit else "without a kill"
            self.shaken.unexpected.append(
                f"start {self.command.starts} ended with {status} {after}; its last words: {self._words()}"
            )

    def _words(self) -> str:
        return " / ".join(self.command.said_after((self.command.starts, 0))[-3:])

    # ---- kills

    def _deliver(self, plan: PlannedKill) -> None:
        """Wait for the moment of a kill and deliver it; the command may end and start again meanwhile."""
        moves = len(self.watch.moments)
        due_s: float | None = None
        while True:
            if not self._poll(again_when_done=plan.moment == REPORT):
                raise ChaosError(
                    f"the sweep was done before kill {plan.number} ({plan.kind}) fell; more --steps give more time"
                )
            if due_s is None and self._has_come(plan, moves):
                due_s = self._from(plan) + plan.delay_s
            if due_s is None or time.time() < due_s:
                continue
            if chosen := targets(plan.kind, self.command, self.roster, self.watch, self.rng):
                break
        self._strike(plan, chosen)

    def _has_come(self, plan: PlannedKill, moves: int) -> bool:
        if plan.moment == WORK:  # the sweep must have moved since the last kill: else kills alone would fill the time
            return self.watch.work_done() >= plan.share * self.total_work and len(self.watch.moments) > moves
        if plan.moment == REPORT:
            return len(self.watch.closed()) >= self.total_slots
        return True

    def _from(self, plan: PlannedKill) -> float:
        if plan.moment == START_UP:
            return self.command.started_s
        if plan.moment == RECOVERY and self.shaken.hits:
            return self.shaken.hits[-1].at_s
        return time.time()

    def _strike(self, plan: PlannedKill, chosen: list[Seen]) -> None:
        hit = strike(plan, chosen, self.command, self.roster, self.watch, self._stage())
        self.shaken.hits.append(hit)
        self.tell(hit, hit.at_s - self.shaken.began_s)
        if plan.kind in ENDS_DRIVER:
            self._note_end(int(hit.status or 0), hit)
            self._start()

    def _stage(self) -> str:
        """What the sweep is doing, by what is in flight."""
        stages = sorted({run.stage for run in self.watch.in_flight()})
        if stages:
            return "+".join(stages)
        if len(self.watch.closed()) >= self.total_slots:
            return "close"
        if not self.roster.living("worker"):
            return "start-up"
        return "idle"

    # ---- the end

    def _leave(self) -> None:
        """See what is left of all starts, then end it: this machine is not ours alone."""
        if self.command.status() is None and self.command.process is not None:
            self.command.process.kill()
            self.command.process.wait()
        end = time.time() + LEAVING_S
        while (left := self.roster.strays()) and time.time() < end:
            time.sleep(1.0)
        self.roster.end()
        self.watch.look()
        self.shaken.left = left
        for seen in left:
            if seen.is_alive():
                _kill(seen.pid)


def _kill(pid: int) -> None:
    import psutil

    try:
        psutil.Process(pid).kill()
    except psutil.Error:
        return
