"""`hsfm-sweep plan`: what would run, why, and what it costs. Starts nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from orchestrator.cli.options import json_option, sweep_options, sweep_request
from orchestrator.cli.printing import console, duration, print_json, styled, table
from orchestrator.errors import FeasibilityError
from orchestrator.plan.export import plan_to_data
from orchestrator.plan.planned import CELL_STATES, Plan, PlannedCell


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep plan --grid quick
  hsfm-sweep plan --grid full --json | jq '.cells[] | select(.state == "blocked") | .reason'"""
)
@sweep_options
@json_option
def plan(as_json: bool, **options: Any) -> int:
    """Show every cell, its state and the reason, its runs, and the estimated device time and disk. Starts nothing.

    A cell is done, partial, missing (will run), blocked (data or weights are absent, or the strategy cannot take the
    sensor) or failed. Times rest on runs in the ledger where there are any (no ~), else on each strategy's own
    reference value for one CPU core (~).
    """
    request = sweep_request(**options)
    from orchestrator.api_plan import build_plan

    made = build_plan(request.grid, request.locations, request.sweep_root, request.tracking_uri)
    if as_json:
        print_json(plan_to_data(made))
    else:
        print_plan(made, console())
    if not made.is_feasible:
        raise FeasibilityError(made.feasibility)
    return 0


def print_plan(made: Plan, out: Console) -> None:
    """The plan as a table, and below it what needs attention."""
    cells = table("strategy", "data set", "labels", "state", ">runs", ">device", "transfer", "why")
    for planned in made.cells:
        optional = " (optional)" if planned.optional else ""
        cells.add_row(
            escape(planned.cell.strategy.label),
            escape(planned.cell.dataset),
            str(planned.cell.label_budget),
            styled(planned.state) + optional,
            f"{planned.runs_done}/{planned.runs_total}",
            f"{'' if planned.is_measured else '~'}{duration(planned.device_s)}",
            planned.transfer,
            escape(planned.reason),
        )
    out.print(cells)
    _print_remedies([cell for cell in made.cells if cell.remedy and cell.state in ("blocked", "failed")], out)
    _print_notes(made.cells, out)
    _print_totals(made, out)


def _print_remedies(cells: Sequence[PlannedCell], out: Console) -> None:
    for remedy, count in Counter(cell.remedy for cell in cells).items():
        out.print(f"  to mend {count} of them: [bold]{escape(remedy)}[/bold]")


def _print_notes(cells: Sequence[PlannedCell], out: Console) -> None:
    noted = Counter((cell.cell.strategy.name, cell.cell.dataset, note) for cell in cells for note in cell.notes)
    shown = set()
    for name, dataset, note in noted:
        # a note on the data set alone is told once, not for every strategy
        subject = name if note.startswith(("normalisation", "one worker")) else dataset
        if (subject, note) not in shown:
            shown.add((subject, note))
            out.print(f"  note: {escape(subject)}: {escape(note)}")


def _print_totals(made: Plan, out: Console) -> None:
    counts = ", ".join(f"{made.count(state)} {state}" for state in CELL_STATES if made.count(state))
    out.print(f"\n[bold]{escape(made.name)}[/bold]: {len(made.cells)} cells ({counts})")
    out.print(
        f"runs {made.runs_done}/{made.runs_total}; device time {duration(made.device_s)}, "
        f"{duration(made.device_left_s)} of it left; disk at most {made.disk_gib:.1f} GiB"
    )
    out.print(made.feasibility)
    if made.expected_use is not None:
        out.print(
            f"about {duration(made.wall_left_s)} to go on {made.groups} group{'s' if made.groups != 1 else ''}; "
            f"expected use {made.expected_use:.0%} given rounds and rungs"
        )
