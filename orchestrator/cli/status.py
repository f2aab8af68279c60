"""`hsfm-sweep status`: how far a sweep is. Reads the ledger, and never disturbs a driver at work."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.live import Live

from orchestrator.cli.options import json_option, sweep_options, sweep_request
from orchestrator.cli.printing import console, print_json
from orchestrator.cli.same_command import same_sweep
from orchestrator.errors import LedgerError

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.cli.status_table import Detail
    from orchestrator.sweep_status import SweepStatus

STATES = ("done", "running", "waiting", "interrupted", "partial", "missing", "blocked", "failed")
WATCH_EVERY_S = 3.0


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep status --grid quick
  hsfm-sweep status --grid quick --watch
  hsfm-sweep status --grid full --state failed --log-lines 20
  hsfm-sweep status --grid quick --json | jq '.failures'"""
)
@sweep_options
@click.option("--all", "everything", is_flag=True, help="Every cell and run; else more than 40 cells are grouped.")
@click.option("--cell", default="", metavar="TEXT", help="Only cells with this text in their name.")
@click.option(
    "--state", "states", multiple=True, type=click.Choice(STATES), help="Only cells in this state. Can be repeated."
)
@click.option(
    "--log-lines",
    type=click.IntRange(0, 1000),
    default=5,
    show_default=True,
    help="Last lines of one log of each kind of failure.",
)
@json_option
@click.option("--watch", is_flag=True, help="Show it again every few seconds, until interrupted.")
def status(
    as_json: bool, watch: bool, everything: bool, cell: str, states: Sequence[str], log_lines: int, **options: Any
) -> None:
    """Show how far a sweep is: driver, cells, runs now, best validation score, time left, failures by cause.

    It can be called at any time from any shell, also while the sweep runs: it only reads. A cell is done, running,
    waiting (a driver is at work, elsewhere in the grid), interrupted (its driver went), partial, missing, blocked or
    failed. Test scores are shown of finished cells only. The JSON is described in docs/json.md.
    """
    request = sweep_request(**options)
    from orchestrator.cli.status_table import Detail
    from orchestrator.sweep_status import sweep_status

    def look() -> SweepStatus:
        return sweep_status(
            request.grid,
            request.locations,
            request.sweep_root,
            request.tracking_uri,
            cell=cell,
            states=states,
            log_lines=log_lines,
        )

    detail = Detail(
        everything=everything,
        filtered=bool(cell or states),
        retry=same_sweep("retry", options),
        go_on=same_sweep("", options),
        show_all=same_sweep("status", options, "--all"),
    )
    if watch:
        _watch(look, detail, as_json=as_json)
    elif as_json:
        print_json(look().to_data())
    else:
        _print(look(), detail, console())


def _print(found: SweepStatus, detail: Detail, out: Console) -> None:
    from orchestrator.cli.status_table import render

    for part in render(found, detail):
        out.print(part, soft_wrap=isinstance(part, str))


def _watch(look: Callable[[], SweepStatus], detail: Detail, *, as_json: bool) -> None:
    """Look every few seconds. A ledger that does not answer ends only the first look: later ones wait for it."""
    found = look()
    if as_json:
        while True:
            click.echo(json.dumps(found.to_data(), allow_nan=False, ensure_ascii=False))
            found = _look_again(look, found)[0]
    out = console()
    if not out.is_terminal:
        while True:
            _print(found, detail, out)
            found, problem = _look_again(look, found)
            if problem:
                out.print(problem, style="red", markup=False)
    from orchestrator.cli.status_table import screen

    with Live(screen(found, detail, out), console=out, auto_refresh=False) as live:
        live.refresh()
        while True:
            found, problem = _look_again(look, found)
            live.update(screen(found, detail, out, problem), refresh=True)


def _look_again(look: Callable[[], SweepStatus], last: SweepStatus) -> tuple[SweepStatus, str]:
    """The sweep a few seconds later; what was last seen, and why, where the ledger does not answer."""
    time.sleep(WATCH_EVERY_S)
    try:
        return look(), ""
    except LedgerError as error:
        return last, f"{error} (shown: {last.time})"
