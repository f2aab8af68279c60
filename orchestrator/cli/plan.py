"""`hsfm-sweep plan`: what would run, why, and what it costs. Starts nothing."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from orchestrator.cli.options import json_option, sweep_options, sweep_request
from orchestrator.cli.printing import console, duration, print_json, styled, table
from orchestrator.cli.same_command import same_sweep
from orchestrator.errors import FeasibilityError
from orchestrator.plan.display import shared_lines
from orchestrator.plan.export import plan_to_data
from orchestrator.plan.leave_one_scene_out import DRAWS_NOTE
from orchestrator.plan.planned import CELL_STATES, Plan, PlannedCell
from orchestrator.plan.provenance import SYNTHETIC_NOTE

MOST_CELLS = 500


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep plan --grid quick
  hsfm-sweep plan --grid full --json | jq '.cells[] | select(.state == "blocked") | .reason'"""
)
@sweep_options
@click.option("--all", "everything", is_flag=True, help=f"Every cell; else more than {MOST_CELLS} are grouped.")
@json_option
def plan(as_json: bool, everything: bool, **options: Any) -> int:
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
        most = None if everything else MOST_CELLS
        print_plan(made, console(), most_cells=most, show_all=same_sweep("plan", options, "--all"))
    if not made.is_feasible:
        raise FeasibilityError(made.feasibility)
    return 0


def print_plan(made: Plan, out: Console, *, most_cells: int | None, show_all: str) -> None:
    """The plan as a table, and below it what needs attention; more than `most_cells` cells are grouped."""
    if most_cells is None or len(made.cells) <= most_cells:
        out.print(_cells(made.cells))
    else:
        out.print(_groups(made.cells))
        out.print(f"{len(made.cells)} cells, grouped; one by one: {escape(show_all)}")
    _print_remedies([cell for cell in made.cells if cell.remedy and cell.state in ("blocked", "failed")], out)
    _print_notes(made.cells, out)
    _print_totals(made, out)


def _cells(planned_cells: Sequence[PlannedCell]) -> Table:
    cells = table("strategy", "data set", "labels", "state", ">runs", ">device", "transfer", "why")
    for planned in planned_cells:
        optional = " (optional)" if planned.optional else ""
        cells.add_row(
            escape(planned.cell.strategy.label),
            escape(planned.cell.dataset),
            str(planned.cell.label_budget) + (", random split" if planned.split == "random" else ""),
            styled(planned.state) + optional,
            f"{planned.runs_done}/{planned.runs_total}",
            f"{'' if planned.is_measured else '~'}{duration(planned.device_s)}",
            planned.transfer,
            escape(planned.reason),
        )
    return cells


def _groups(planned_cells: Sequence[PlannedCell]) -> Table:
    """Cells that differ in further fields and label budgets only, counted together."""
    groups: dict[tuple[str, ...], list[PlannedCell]] = {}
    for planned in planned_cells:
        choice = planned.cell.strategy
        regime, init = (str(choice.fields.get(name, "")) for name in ("regime", "init"))
        key = (choice.name, regime, init, planned.cell.dataset, planned.state, planned.transfer, planned.reason)
        groups.setdefault(key, []).append(planned)
    rows = table(
        "strategy", "regime", "init", "data set", ">cells", ">budgets", "state", ">runs", ">device", "transfer", "why"
    )
    for (name, regime, init, dataset, state, transfer, reason), cells in groups.items():
        rows.add_row(
            escape(name),
            regime,
            init,
            escape(dataset),
            str(len(cells)),
            str(len({cell.cell.label_budget for cell in cells})),
            styled(state),
            f"{sum(cell.runs_done for cell in cells)}/{sum(cell.runs_total for cell in cells)}",
            f"{'' if all(cell.is_measured for cell in cells) else '~'}{duration(sum(c.device_s for c in cells))}",
            transfer,
            escape(reason),
        )
    return rows


def _print_remedies(cells: Sequence[PlannedCell], out: Console) -> None:
    for remedy, count in Counter(cell.remedy for cell in cells).items():
        out.print(f"  to mend {count} of them: [bold]{escape(remedy)}[/bold]")


def _print_notes(cells: Sequence[PlannedCell], out: Console) -> None:
    noted = Counter((cell.cell.strategy.name, cell.cell.dataset, note) for cell in cells for note in cell.notes)
    shown = set()
    for name, dataset, note in noted:
        # a note on the data set alone is told once, not for every strategy
        subject = name if note.startswith(("normalisation", "one worker")) else dataset
        subject = "init=synthetic" if note == SYNTHETIC_NOTE else subject
        subject = "search" if note == DRAWS_NOTE else subject
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
    for line in shared_lines(made):
        out.print(line)
    out.print(made.feasibility)
    if made.expected_use is not None:
        out.print(
            f"about {duration(made.wall_left_s)} to go on {made.groups} group{'s' if made.groups != 1 else ''}; "
            f"expected use {made.expected_use:.0%} given rounds and rungs"
        )
