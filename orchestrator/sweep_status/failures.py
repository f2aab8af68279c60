"""Failures by cause: how many, where, what to do, and the end of one log."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from orchestrator.execution.tallies import trial_order
from orchestrator.ledger.records import SlotRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.sweep_status.logs import last_lines
from orchestrator.sweep_status.model import FailureGroup

ADVICE = {
    "lost": "its worker, group or machine went away too often; see whether machines are taken back or memory runs out "
    "(`hsfm-sweep doctor`), then retry",
    "node_lost": "its machines were taken back or cut off more often than execution.max_lost_nodes; use nodes that "
    "stay, or raise it, then retry",
    "storage": "free space, or mend the folder of checkpoints (`hsfm-sweep doctor` writes and reads it), then retry",
    "out_of_memory": "give each worker more memory (fewer execution.groups), or lower train.batch_size or "
    "train.patch_size (that makes new runs), then retry",
    "run_error": "the run itself is wrong and would fail again: the log has the traceback; mend the strategy, the data "
    "or the settings, then retry",
    "time_limit": "raise execution.run_time_limit_s (0 = none), then retry: it goes on from its last checkpoint",
    "stalled": "it stood still for execution.stall_timeout_s; see its log and the machine's load, then retry",
}
UNKNOWN_ADVICE = "see its log, then retry"
SIGNATURE_LENGTH = 120


def failure_groups(
    cells: Iterable[tuple[PlannedCell, Mapping[str, SlotRecord]]], logs: Path, log_lines: int
) -> tuple[FailureGroup, ...]:
    """Failed runs by cause and first line of their error, the most frequent first.

    Numbers in an error (a step, a size, an address) do not make another group.
    """
    found: dict[tuple[str, str], list[tuple[PlannedCell, SlotRecord]]] = {}
    for planned, slots in cells:
        failed = [record for record in slots.values() if record.state == "failed"]
        for record in sorted(failed, key=lambda one: (one.slot.split("/")[0] != "final", trial_order(one.slot))):
            found.setdefault((record.cause, _signature(record.error)), []).append((planned, record))
    groups = [_group(cause, members, logs, log_lines) for (cause, _), members in found.items()]
    return tuple(sorted(groups, key=lambda group: (-group.count, group.cause, group.error)))


def _group(cause: str, members: list[tuple[PlannedCell, SlotRecord]], logs: Path, log_lines: int) -> FailureGroup:
    runs: list[dict[str, Any]] = [
        {
            "cell_id": planned.cell_id,
            "cell": str(planned.cell),
            "slot": record.slot,
            "key": record.key,
            "log": str(logs / f"{record.key}.log"),
        }
        for planned, record in members
    ]
    log = logs / f"{members[0][1].key}.log"
    return FailureGroup(
        cause=cause,
        error=first_line(members[0][1].error),
        advice=ADVICE.get(cause, UNKNOWN_ADVICE),
        count=len(members),
        runs=tuple(runs),
        cells=tuple(dict.fromkeys(run["cell"] for run in runs)),
        log=str(log),
        log_lines=last_lines(log, log_lines),
    )


def first_line(error: str) -> str:
    """The first line of an error; a word where it has none."""
    return next((line.strip() for line in error.splitlines() if line.strip()), "no error was recorded")


def _signature(error: str) -> str:
    return re.sub(r"0x[0-9a-f]+|\d+(\.\d+)?(e[+-]?\d+)?", "#", first_line(error)[:SIGNATURE_LENGTH])
