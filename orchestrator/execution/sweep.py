"""Run or continue a sweep: prepare data, read the ledger, start Ray only if something is left, report.

The same call resumes: what the ledger has finished is never started again.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

from orchestrator.errors import ExecutionError, FeasibilityError
from orchestrator.execution.ending import Ending
from orchestrator.execution.journal import LedgerJournal
from orchestrator.execution.outcome import SweepOutcome, ending_on_signals, timing_of
from orchestrator.execution.provenance import provenance_tags
from orchestrator.execution.publish import Housekeeper
from orchestrator.execution.segments import Segment
from orchestrator.execution.stage_files import check_places, places_of, reopened
from orchestrator.execution.sweep_state import SweepState
from orchestrator.execution.tallies import MODEL_TAG
from orchestrator.ledger.store import Ledger
from orchestrator.plan.planned import Plan
from orchestrator.plan.resources import groups_at_start
from orchestrator.plan.shapes import Shapes, shapes_for
from orchestrator.plan.slots import final_slots

HUB_ANSWERS_WITHIN_S, GROUPS_LEAVE_WITHIN_S = 20.0, 20.0
"""At the end of a sweep nothing depends on either any more."""


@dataclass(frozen=True, kw_only=True)
class Paths:
    """Where a sweep's runs find things; none of it is part of a key."""

    prepared: dict[str, str]
    """Prepared store of each data set."""
    weights: dict[str, str]
    """Local file of each checkpoint that runs start from, by its SHA-256."""
    storage: str


def run_plan(
    plan: Plan,
    ledger: Ledger,
    paths: Paths,
    folder: Path,
    *,
    console: Console,
    plugins: Sequence[str] = (),
    retry: Collection[str] = (),
) -> SweepOutcome:
    """Execute what is left of a plan. The ledger stays open; every outcome is in it when this returns.

    `retry` names cells whose failed runs get another chance.
    """
    keeper = Housekeeper(ledger, paths.storage)
    journal = LedgerJournal(
        ledger,
        logs=folder / "logs",
        provenance=provenance_tags(),
        on_run_closed=keeper.run_closed,
        on_cell_closed=keeper.cell_closed,
        tell=lambda text: console.print(escape(text), soft_wrap=True),
    )
    check_places(plan.shared, paths.storage)
    records = ledger.cells()
    # a stage before the cells that build on it
    runnable = [c for c in (*plan.shared, *plan.cells) if c.state != "blocked" and c.cell_id]
    with journal.together():
        for planned in runnable:
            known = records.get(str(planned.cell_id))
            if known is None or planned.state != "done":
                journal.open_cell(planned)
    runnable, records = reopened(runnable, records, paths.storage)
    state = SweepState(
        runnable,
        records,
        search=plan.grid.search,
        execution=plan.grid.execution,
        journal=journal,
        retry=retry,
    )
    outcome = SweepOutcome(plan.name, folder)
    for cell in state.cells.values():  # a kill may have fallen between the last run and its model
        known = records.get(str(cell.planned.cell_id))
        if cell.planned.stage == "final" and cell.is_closed and known is not None and MODEL_TAG not in known.tags:
            journal.cell_closed(cell.planned, cell.slots)
    try:
        if state.has_work():
            outcome.started_ray = True
            _execute(state, journal, plan, paths, folder, outcome, console, plugins)
    finally:
        keeper.close()
    outcome.notes += keeper.problems
    _conclude(state, plan, outcome)
    return outcome


def _execute(
    state: SweepState,
    journal: LedgerJournal,
    plan: Plan,
    paths: Paths,
    folder: Path,
    outcome: SweepOutcome,
    console: Console,
    plugins: Sequence[str],
) -> None:
    """The part that needs Ray: hub, worker groups, one Tuner."""
    from orchestrator.execution import cluster

    cluster.set_environment(plan.grid.execution)
    import ray

    from orchestrator.execution.hub_place import start_hub
    from orchestrator.execution.progress import Progress
    from orchestrator.execution.watchdog import Watchdog
    from orchestrator.execution.worker_groups import WorkerGroups

    began = time.time()
    execution = plan.grid.execution
    ending = Ending(state)
    planned = [cell.planned for cell in state.cells.values() if not cell.is_closed]
    sizes = {shape.workers for shape in map(shapes_for(planned, execution, 0.0).of, planned)}
    # from before Ray starts: there an interrupt that is raised as an exception can be lost in somebody's callback
    with (
        ending_on_signals(ending.stop, outcome),
        cluster.ray_session(execution, min(sizes), max(sizes), lambda: ending.is_hard) as capacity,
    ):
        if cluster.node_count() > 1 and not execution.storage_path:
            raise FeasibilityError(
                f"checkpoints would go to {paths.storage}, which the {cluster.node_count()} nodes of this cluster do "
                "not share; set execution.storage_path to a shared folder or an object store"
            )
        shapes = shapes_for(planned, execution, capacity.gpus)
        wanted = set(map(shapes.of, planned))
        room = cluster.room_for(wanted, execution, capacity)
        first = groups_at_start(planned, shapes, room) or [max(wanted)]
        state.queue_by(shapes.of)
        ending.hub = hub = start_hub()
        groups = WorkerGroups(
            execution,
            room=room,
            first=first,
            shapes=list(wanted),
            has_gpus=capacity.gpus > 0,
            folder=folder / "ray",
            plugins=plugins,
        )
        groups.start(hub)
        watchdog = Watchdog(hub, groups, execution, ending.stop, lambda: state.stop_reason, capacity.local)
        progress = Progress(state, journal, console, groups=len(first))
        watchdog.start()
        progress.start()
        try:
            ending.wait_for(
                lambda: _tune(
                    state,
                    paths,
                    groups.limit,
                    shapes,
                    capacity.has_driver_nodes,
                    folder,
                    lambda lease_id, why: hub.cancel.remote(lease_id, why),
                )
            )
        finally:
            groups.hold()
            progress.end()
            watchdog.end()
        if ending.is_hard and outcome.is_interrupted:
            return  # Ray died while the sweep was ending: the user has asked for the end, not for another start
        ending.raise_if_hard(is_local=capacity.is_local, restarts=execution.restarts)
        with contextlib.suppress(ray.exceptions.RayError):  # where the time went is worth no error, and no waiting
            outcome.timing = timing_of(ray.get(hub.times.remote(), timeout=HUB_ANSWERS_WITHIN_S), began)
        hub.close.remote()
        groups.join(GROUPS_LEAVE_WITHIN_S)


def _tune(
    state: SweepState,
    paths: Paths,
    limit: Callable[[Any], int],
    shapes: Shapes,
    has_driver_nodes: bool,
    folder: Path,
    cancel: Callable[[str, str], object],
) -> None:
    from ray import tune

    from orchestrator.execution.cluster import DRIVER_RESOURCE
    from orchestrator.execution.notebook_area import silent_reporter
    from orchestrator.execution.tune_adapter import SweepSearcher, drive_segment, keep_secrets_here

    def make_job(segment: Segment) -> dict[str, Any]:
        spec = segment.spec
        return {
            "shape": shapes.of(state.cells[segment.cell_id].planned).name,
            "spec": spec.to_json(),
            "attempt": segment.attempt,
            "until_step": segment.until_step,
            "micro_batches": segment.micro_batches,
            "spent_s": segment.spent_s,
            "storage": paths.storage,
            **places_of(spec, segment.stages, paths.prepared, paths.weights),
        }

    keep_secrets_here()
    resources: dict[str, float] = {"cpu": 0, **({DRIVER_RESOURCE: 0.01} if has_driver_nodes else {"memory": 1})}
    searcher = SweepSearcher(state, make_job, limit, cancel, shapes.of)
    tuner = tune.Tuner(
        tune.with_resources(drive_segment, resources),
        tune_config=tune.TuneConfig(
            search_alg=searcher,
            num_samples=-1,
            reuse_actors=True,
            trial_dirname_creator=lambda t: t.trial_id,
        ),
        run_config=tune.RunConfig(
            name=f"driver-{time.time_ns()}",
            storage_path=str(folder / "ray"),
            verbose=0,
            progress_reporter=silent_reporter(),
            failure_config=tune.FailureConfig(max_failures=0),
        ),
    )
    tuner.fit()
    if searcher.ledger_error is not None:
        raise ExecutionError(f"{searcher.ledger_error} Nothing finished is lost: then the same command goes on.")


def _conclude(state: SweepState, plan: Plan, outcome: SweepOutcome) -> None:
    """Count what is finished, failed and blocked; optional cells do not make the sweep fail."""
    outcome.stop_reason = "" if outcome.is_interrupted else state.stop_reason
    for cell in state.cells.values():
        if cell.planned.stage != "final":
            continue
        finals = [cell.slots.get(slot) for slot in final_slots(cell.planned)]
        if all(record is not None and record.state == "finished" for record in finals):
            outcome.finished += 1
        elif not cell.planned.optional and not outcome.is_interrupted:
            errors = [r.error for r in cell.slots.values() if r.state == "failed"] or state.stages.failed(cell)
            why = errors[0] if errors else state.scene_choices.problem(cell) or "not finished"
            outcome.failed.append(f"{cell.planned.cell}: {why}")
    outcome.blocked = [c.why_blocked for c in plan.cells if c.state == "blocked" and not c.optional]
