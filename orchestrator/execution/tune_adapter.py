"""The two faces that Ray Tune sees: a thin Searcher over the sweep's state, and a thin trial driver.

A Tune trial is one segment of a run. It uses no CPU: it leases a worker group and forwards its words. A searcher's
exception would end the whole fit, so its callbacks never raise: they stop the sweep with a reason instead.
"""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Hashable
from typing import Any

import ray
from ray import tune
from ray.tune.search import Searcher

from orchestrator.config.secrets import is_secret
from orchestrator.errors import LedgerError
from orchestrator.execution.hub_place import find_hub
from orchestrator.execution.segments import Segment
from orchestrator.execution.sweep_state import SweepState
from orchestrator.plan.planned import PlannedCell

log = logging.getLogger(__name__)
EVENT = "event"
GOING_ON = ("progress", "note")
"""Kinds of events after which a segment goes on."""


def drive_segment(config: dict[str, Any]) -> None:
    """A Tune trial: lease a group for one segment, forward its events, end with the last one."""
    hub = find_hub()
    lease_id = config["lease_id"]
    ray.get(hub.lease.remote(lease_id, json.loads(config["job"])))
    while True:
        event = ray.get(hub.event.remote(lease_id))
        tune.report({EVENT: json.dumps(event)})
        if event["kind"] not in GOING_ON:
            return


def keep_secrets_here() -> None:
    """Take credentials out of what Tune forwards to trial drivers: Ray writes it into its logs, in plain text.

    Trial drivers read and write no storage, so they need none.
    """
    from ray.tune.execution import class_cache

    names = getattr(class_cache, "ENV_VARS_TO_PROPAGATE", None)  # a private set; another Ray may have another way
    if isinstance(names, set):
        names -= {name for name in names if is_secret(name, "")}


class SweepSearcher(Searcher):
    """Hands out the next segment of the sweep and takes back what became of it."""

    def __init__(
        self,
        state: SweepState,
        make_job: Callable[[Segment], dict[str, Any]],
        limit: Callable[[Hashable], float],
        cancel: Callable[[str, str], object],
        shape_of: Callable[[PlannedCell], Hashable] = lambda _: None,
    ) -> None:
        """`limit` tells how many segments of a shape of worker groups may be under way or wait for a group."""
        super().__init__(metric=None, mode=None)
        self._state, self._make_job, self._limit, self._cancel = state, make_job, limit, cancel
        self._shape_of = shape_of
        self.ledger_error: LedgerError | None = None
        """Why decisions could not be written down any more."""
        self._lease_of: dict[str, str] = {}

    def __reduce__(self) -> tuple[Any, ...]:
        return (dict, ())  # the Tuner pickles its searcher; ours owns the ledger, so it pickles to nothing

    def suggest(self, trial_id: str) -> Any:
        """The next segment; None = ask again; FINISHED (which is final) only when nothing is in flight."""
        try:
            segment = self._state.next_segment(full=self._full())
            if segment is None:
                return Searcher.FINISHED if self._state.is_finished else None
            self._lease_of[trial_id] = segment.lease_id
            return {"lease_id": segment.lease_id, "job": json.dumps(self._make_job(segment))}
        except Exception as error:
            self._give_up("choosing the next run", error)
            return Searcher.FINISHED

    def _full(self) -> list[Hashable]:
        """Shapes whose groups have enough to do."""
        cells = [self._state.cells[segment.cell_id].planned for segment in self._state.in_flight.values()]
        return [shape for shape, count in Counter(map(self._shape_of, cells)).items() if count >= self._limit(shape)]

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        try:
            event = json.loads(result[EVENT]) if EVENT in result else {}
            if event.get("kind") == "progress":
                self._state.on_progress(self._lease_of[trial_id], event["points"])
            elif event.get("kind") == "note":
                self._state.on_note(self._lease_of[trial_id], event["text"])
        except Exception as error:
            self._give_up("writing down progress", error)

    def on_trial_complete(self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False) -> None:
        try:
            event = json.loads(result[EVENT]) if result and EVENT in result else {"kind": "progress"}
            if error or event["kind"] in GOING_ON:
                event = {"kind": "lost", "reason": "the trial's driver died"}
                self._cancel(self._lease_of[trial_id], event["reason"])  # the group must not go on for nobody
            self._state.on_end(self._lease_of.pop(trial_id), event)
        except Exception as problem:
            self._give_up("writing down the end of a run", problem)

    def _give_up(self, doing: str, error: Exception) -> None:
        if isinstance(error, LedgerError):
            self.ledger_error = self.ledger_error or error
            self._state.stop_reason = self._state.stop_reason or str(error)
            return
        log.exception("while %s", doing)
        if not self._state.stop_reason:
            self._state.stop_reason = f"internal error while {doing}: {type(error).__name__}: {error}"

    # Tune asks for these; our state is in the ledger, not in Tune's snapshots.
    def save(self, checkpoint_path: str) -> None: ...

    def restore(self, checkpoint_path: str) -> None: ...
