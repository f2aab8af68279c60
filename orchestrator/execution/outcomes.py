"""What an outcome of a segment means for its slots: finished, stopped, failed for good, or tried again."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orchestrator.config import ExecutionConfig, SearchConfig
from orchestrator.execution.cell_state import SELECTION, CellState
from orchestrator.execution.failures import NODE_LOST, CircuitBreaker, cause_of, verdict
from orchestrator.execution.segments import Journal, Segment
from orchestrator.ledger.records import SlotRecord


class Outcomes:
    """Writes outcomes into the slots of their cells, and into the journal before anything depends on them."""

    def __init__(self, search: SearchConfig, execution: ExecutionConfig, journal: Journal) -> None:
        self.search, self.execution, self.journal = search, execution, journal
        self._breaker = CircuitBreaker(execution.same_error_limit, fail_fast=execution.fail_fast)

    def put(self, state: CellState, record: SlotRecord) -> None:
        """Keep the newest record of a slot."""
        state.put(record)
        self.journal.put_slot(state.cell_id, record)

    def reached(self, state: CellState, segment: Segment, event: Mapping[str, Any]) -> None:
        """A run came to a rung, or to its end."""
        key, step = segment.spec.key, int(event["step"])
        scores = {k: float(v) for k, v in event["scores"].items()}
        best = scores.get(f"val/best_{self.search.metric}")
        if best is not None and math.isfinite(best):
            scores[SELECTION] = best
        for slot in state.twins(key):
            self.put(
                state,
                state.slots[slot].with_(
                    reached_step=step,
                    scores=scores,
                    seconds=float(event["seconds"]),
                    failures=0,
                    lost_nodes=0,
                    error="",
                    cause="",
                ),
            )
        is_last = step >= state.rungs[-1]
        if not is_last:
            return
        if segment.spec.stage == "search" and SELECTION not in scores:
            self.close(state, key, "failed", event, error=f"no finite validation {self.search.metric} to select on")
            return
        self._breaker.succeeded()
        self.close(state, key, "finished", event)

    def failed(self, state: CellState, segment: Segment, event: Mapping[str, Any]) -> str:
        """An attempt at a run failed; why the whole sweep has to stop, empty where it goes on."""
        key = segment.spec.key
        record = state.slots[segment.slot]
        cause = cause_of(event["kind"], event.get("cause"))
        error = str(event.get("error") or event.get("reason") or "lost")
        went_with_node = cause == NODE_LOST
        failures, lost_nodes = record.failures + (not went_with_node), record.lost_nodes + went_with_node
        decided = verdict(
            cause,
            failures,
            self.execution.max_attempts,
            can_split=bool(event.get("can_split")),
            lost_nodes=lost_nodes,
            max_lost_nodes=self.execution.max_lost_nodes,
        )
        parts = 2 * record.micro_batches if decided == "split" else record.micro_batches
        for slot in state.twins(key):
            changed = {"failures": failures, "lost_nodes": lost_nodes, "error": error, "cause": cause}
            changed["lost_steps"] = record.lost_steps + int(event.get("lost_steps", 0))
            self.put(state, state.slots[slot].with_(**changed, micro_batches=parts))
        self.journal.attempt_failed(state.planned, segment, cause=cause, error=error, decided=decided)
        if decided == "pause":
            return (
                f"files of the sweep cannot be read or written, {failures} attempts in a row: {error}; nothing that "
                "is finished is lost: mend the disk or free space on it, then the same command goes on"
            )
        if decided != "fail":
            return ""  # ready again, as a new attempt
        self.close(state, key, "failed", event, error=error)
        return self._breaker.failed(str(state.planned.cell), error)

    def close(
        self,
        state: CellState,
        key: str,
        outcome: Any,
        event: Mapping[str, Any],
        *,
        error: str = "",
        stop_reason: str = "",
    ) -> None:
        """The run of a key is over: told to all slots that it fills."""
        for slot in state.twins(key):
            record = state.slots[slot].with_(state=outcome, error=error, stop_reason=stop_reason)
            self.put(state, record)
        self.journal.run_closed(state.planned, record, event)
