"""`hsfm-sweep reconcile`: put a sweep's ledger in order without running anything."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.options import json_option, sweep_options, sweep_request
from orchestrator.cli.printing import print_json
from orchestrator.cli.same_command import same_sweep

SCHEMA = 1


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep reconcile --grid quick
  hsfm-sweep reconcile --grid quick --take-over      the driver that holds the sweep stops writing"""
)
@sweep_options
@click.option("--take-over", is_flag=True, help="Take the sweep from a driver that holds it; that one stops writing.")
@json_option
def reconcile(take_over: bool, as_json: bool, **options: Any) -> None:
    """Tell MLflow what waits in the spool, and end runs that a killed driver left RUNNING. Trains nothing.

    Every run and continuation of a sweep does this by itself; it is for a sweep that is not to go on now.
    """
    request = sweep_request(**options)
    from orchestrator.upkeep.reconciling import reconcile_sweep

    done = reconcile_sweep(request.folder, request.grid.name, request.tracking_uri, take_over=take_over)
    if as_json:
        print_json(
            {
                "schema": SCHEMA,
                "name": request.grid.name,
                "folder": str(request.folder),
                "done": list(done.sentences),
                "events_told": done.events_told,
                "runs_closed": done.runs_closed,
                "open_slots": done.open_slots,
            }
        )
        return
    for sentence in done.sentences:
        click.echo(sentence)
    if not done.sentences:
        click.echo(f"{request.grid.name}: nothing to do; no run was left RUNNING and the spool is empty.")
    if done.open_slots:
        runs, them = ("run is", "it") if done.open_slots == 1 else ("runs are", "them")
        command = same_sweep("", options)
        click.echo(f"{done.open_slots} {runs} not finished; `{command}` goes on with {them}.")
