"""What to do about a run that failed, by the cause that its worker named. Pure."""

from __future__ import annotations

from typing import Literal

NODE_LOST = "node_lost"
"""The run's machine went away, or was about to: no fault of the run's, and counted apart."""
PASSING_CAUSES = frozenset({"lost", "stalled", "storage", NODE_LOST})
"""Causes that may pass: a dead worker or node, a rank that hung, a full or unreachable disk. Trying anything else
again fails again."""
SIGNATURE_LENGTH = 120
Verdict = Literal["retry", "split", "pause", "fail"]


def cause_of(kind: str, cause: str | None) -> str:
    """The cause of a segment's bad end; a cancelled run was over its time limit, a lost one says nothing."""
    return cause or ("time_limit" if kind == "cancelled" else "lost")


def verdict(
    cause: str, failures: int, max_attempts: int, *, can_split: bool, lost_nodes: int = 0, max_lost_nodes: int = 0
) -> Verdict:
    """What becomes of a run that has failed `failures` times, and lost its machine `lost_nodes` times.

    Args:
        cause: class of the newest failure.
        failures: attempts that failed in this session, the newest included, those of lost machines not.
        max_attempts: attempts that a run gets where the cause may pass.
        can_split: the run was out of memory, and its batch in twice as many parts gives the same gradients.
        lost_nodes: attempts that went with their machine, the newest included.
        max_lost_nodes: how many of those a run may have before it has failed.

    Returns:
        retry: another attempt, from its newest checkpoint.
        split: another attempt with half the micro-batch: 2 parts, then 4, as long as there is something to split.
        pause: the fault is the storage's, not the run's: stop the sweep and leave the run to the next start.
        fail: it has failed for good.
    """
    if cause == "out_of_memory":
        return "split" if can_split else "fail"
    if cause not in PASSING_CAUSES:
        return "fail"
    if cause == NODE_LOST:
        return "retry" if lost_nodes <= max_lost_nodes else "fail"
    if failures < max_attempts:
        return "retry"
    return "pause" if cause == "storage" else "fail"


class CircuitBreaker:
    """Stops a sweep whose cells fail one after another with the same error: its cause is not in one cell."""

    def __init__(self, same_error_limit: int, *, fail_fast: bool) -> None:
        self._limit, self._fail_fast = same_error_limit, fail_fast
        self._signature = ""
        self._cells: list[str] = []

    def succeeded(self) -> None:
        """A run finished: whatever failed before, it is not everything."""
        self._signature, self._cells = "", []

    def failed(self, cell: str, error: str) -> str:
        """A run of `cell` failed for good; the reason to stop the sweep, or ""."""
        if self._fail_fast:
            return f"fail_fast: {cell} failed: {error}"
        signature = error.split("\n")[0][:SIGNATURE_LENGTH]
        if signature != self._signature:
            self._signature, self._cells = signature, []
        if cell not in self._cells:
            self._cells.append(cell)
        if self._limit and len(self._cells) >= self._limit:
            return f"the same error in {self._limit} cells in a row, so the cause is not in one cell: {error}"
        return ""
