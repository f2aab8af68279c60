"""`hsfm-sweep status`: how far a sweep is. Reads the ledger, and never disturbs a driver at work."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.markup import escape

from orchestrator.cli.options import SweepRequest, json_option, sweep_options, sweep_request
from orchestrator.cli.printing import console, duration, print_json, styled, table
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.plan.planned import CELL_STATES, Plan, PlannedCell

SCHEMA = 1
WATCH_EVERY_S = 5.0


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep status --grid quick
  hsfm-sweep status --grid quick --json | jq '.failures'"""
)
@sweep_options
@json_option
@click.option("--watch", is_flag=True, help="Show it again every few seconds, until interrupted.")
def status(as_json: bool, watch: bool, **options: Any) -> None:
    """Show every cell's state, runs done, best validation score, what is left, and failures with cause and log."""
    request = sweep_request(**options)
    while True:
        data = sweep_status(request)
        if as_json:
            print_json(data)
        else:
            out = console()
            if watch and out.is_terminal:
                out.clear()
            print_status(data, out)
        if not watch:
            return
        time.sleep(WATCH_EVERY_S)


def sweep_status(request: SweepRequest) -> dict[str, Any]:
    """The state of a sweep as plain data; absent is None."""
    from orchestrator.api_plan import view_sweep

    view = view_sweep(request.grid, request.locations, request.sweep_root, request.tracking_uri)
    metric = request.grid.search.metric
    return {
        "schema": SCHEMA,
        "name": view.plan.name,
        "folder": str(view.folder),
        "metric": metric,
        "is_started": bool(view.records),
        "cells": [_cell(planned, view.records, metric) for planned in view.plan.cells],
        "totals": _totals(view.plan),
        "failures": _failures(view.plan, view.records, view.folder),
    }


def print_status(data: Mapping[str, Any], out: Console) -> None:
    """The state of a sweep as a table, and its failures below."""
    if not data["is_started"]:
        out.print(f"{escape(data['name'])} has not been started: there is nothing in {escape(data['folder'])}")
    cells = table(
        "strategy", "data set", "labels", "state", ">runs", ">running", f">best val {data['metric']}", ">left"
    )
    for cell in data["cells"]:
        best = cell["best_validation"]
        cells.add_row(
            escape(cell["strategy"]),
            escape(cell["dataset"]),
            cell["label_budget"],
            styled(cell["state"]) + (" (optional)" if cell["optional"] else ""),
            f"{cell['runs_done']}/{cell['runs']}",
            str(cell["running"] or ""),
            "-" if best is None else f"{best:.3f}",
            duration(cell["device_left_s"]),
        )
    out.print(cells)
    for failure in data["failures"]:
        out.print(f"[red]failed[/red] {escape(failure['cell'])} {failure['slot']}: {escape(failure['error'])}")
        out.print(f"       log: {escape(failure['log'])}")
    totals = data["totals"]
    counts = ", ".join(f"{totals[state]} {state}" for state in CELL_STATES if totals[state])
    out.print(f"\n[bold]{escape(data['name'])}[/bold]: {counts}; runs {totals['runs_done']}/{totals['runs']}")
    if totals["wall_left_s"] is not None:
        out.print(f"about {duration(totals['wall_left_s'])} of work is left on this machine")


def _cell(planned: PlannedCell, records: Mapping[str, CellRecord], metric: str) -> dict[str, Any]:
    slots = _slots(planned, records)
    return {
        "cell_id": planned.cell_id,
        "strategy": planned.cell.strategy.label,
        "dataset": planned.cell.dataset,
        "label_budget": str(planned.cell.label_budget),
        "state": planned.state,
        "reason": planned.reason,
        "remedy": planned.remedy,
        "optional": planned.optional,
        "runs": planned.runs_total,
        "runs_done": planned.runs_done,
        "runs_failed": planned.runs_failed,
        "running": sum(slot.state == "running" for slot in slots.values()),
        "best_validation": _best(slots, metric),
        "device_left_s": planned.device_left_s,
    }


def _best(slots: Mapping[str, SlotRecord], metric: str) -> float | None:
    """Best validation score of the finished trials; a score at a rung is not comparable with one at the end."""
    scores = [
        slot.scores[f"val/{metric}"]
        for name, slot in slots.items()
        if name.startswith("search/") and slot.state == "finished" and f"val/{metric}" in slot.scores
    ]
    return max(scores, default=None)


def _totals(plan: Plan) -> dict[str, Any]:
    return {
        "cells": len(plan.cells),
        **{state: plan.count(state) for state in CELL_STATES},
        "runs": plan.runs_total,
        "runs_done": plan.runs_done,
        "device_left_s": plan.device_left_s,
        "wall_left_s": plan.wall_left_s,
    }


def _failures(plan: Plan, records: Mapping[str, CellRecord], folder: Path) -> list[dict[str, Any]]:
    return [
        {
            "cell": str(planned.cell),
            "slot": name,
            "key": slot.key,
            "error": slot.error,
            "failures": slot.failures,
            "log": str(folder / "logs" / f"{slot.key}.log"),
        }
        for planned in plan.cells
        for name, slot in sorted(_slots(planned, records).items())
        if slot.state == "failed"
    ]


def _slots(planned: PlannedCell, records: Mapping[str, CellRecord]) -> Mapping[str, SlotRecord]:
    record = records.get(planned.cell_id or "")
    return record.slots if record else {}
