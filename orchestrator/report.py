"""From the ledger to what people read: results.parquet, CSV, LaTeX, one HTML page; printed and logged to MLflow.

Everything is derived: it can be deleted and made again from the ledger at any time.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

import orchestrator
from orchestrator.plan.planned import Plan
from orchestrator.plan.run_spec import content_hash

if TYPE_CHECKING:
    from orchestrator.analysis.rows import ComparisonRow
    from orchestrator.analysis.shared_stages import SharedStage
    from orchestrator.api_plan import SweepView
    from orchestrator.execution.outcome import SweepOutcome
    from orchestrator.ledger.store import Ledger

PARQUET, CSV, LATEX, PAGE = "results.parquet", "results.csv", "comparison.tex", "comparison.html"
EFFICIENCY = "label_efficiency.csv"
"""Only where cells have two numbers of labels a class or more."""
FORM = 3
"""Raised by hand when the report's code makes something else of the same ledger and plan."""
MADE_FROM = "made_from.json"
"""Beside the report: what it was made from, so that a re-run with nothing to do can see that it still holds."""


def write_report(
    ledger: Ledger, plan: Plan, out: Path, *, console: Console, publish: bool = True, metric: str | None = None
) -> list[Path]:
    """Make all report files in `out`, print the comparison, and log the files to the sweep's own MLflow run.

    Args:
        ledger: open, in either mode; nothing is logged in read mode.
        plan: the sweep as it stands now: cells that did not run are listed with the reason.
        out: folder for the files.
        console: where the comparison is printed.
        publish: log the files to MLflow.
        metric: the test score to compare by; None = the one that the search chose by.

    Raises:
        ConfigError: unknown metric.
        LedgerError: the store or an artifact cannot be read.
    """
    from dashboards.comparison import render
    from orchestrator.analysis.benchmark import benchmark_data
    from orchestrator.analysis.expected import expected_cells
    from orchestrator.analysis.label_efficiency import efficiencies, efficiency_table
    from orchestrator.analysis.latex import write_latex
    from orchestrator.analysis.pseudo_rgb import pseudo_rgb_notes
    from orchestrator.analysis.results import results_table, write_csv, write_parquet
    from orchestrator.analysis.shared_stages import shared_stages
    from orchestrator.analysis.summary import compare, comparison_data
    from orchestrator.ledger.queries import run_rows
    from orchestrator.ledger.store import SWEEP_KEY

    table = results_table(run_rows(ledger))
    chosen_by = plan.search.metric
    expected = expected_cells(plan)
    rows = compare(table, metric=metric or chosen_by, expected=expected, chosen_by=chosen_by)
    sweep = {
        "name": plan.name,
        "description": plan.grid.description,
        "search": asdict(plan.search),
        "seeds": plan.grid.seeds,
    }
    shared = shared_stages(table, expected)
    comparison = comparison_data(rows, shared) | {"benchmark": benchmark_data(rows, table, plan.grid.protocol)}
    comparison["notes"] += pseudo_rgb_notes(plan.cells)
    files = [
        write_parquet(table, out / PARQUET, comparison=comparison, sweep=sweep),
        write_csv(table, out / CSV),
        write_latex(rows, out / LATEX),
    ]
    if curves := efficiencies(rows):
        files.append(write_csv(efficiency_table(curves), out / EFFICIENCY))
    files.append(render(files[0], out / PAGE))
    _print_comparison(rows, shared, comparison, console)
    if publish:
        for path in files:
            ledger.log_file(SWEEP_KEY, path, "report")
    return files


def _print_comparison(
    rows: Sequence[ComparisonRow], shared: Sequence[SharedStage], comparison: Mapping[str, Any], console: Console
) -> None:
    from orchestrator.analysis.benchmark_terminal import benchmark_parts
    from orchestrator.analysis.few_shot_terminal import few_shot_parts
    from orchestrator.analysis.terminal import comparison_notes, comparison_table, shared_table

    if rows:
        console.print(comparison_table(rows))
        console.print(comparison_notes(comparison["notes"]))
    if shared:
        console.print(shared_table(shared))
    for part in few_shot_parts(comparison["few_shot"]) if comparison["few_shot"] else ():
        console.print(part)
    for part in benchmark_parts(comparison["benchmark"]) if comparison["benchmark"] else ():
        console.print(part)


def remember_origin(out: Path, plan: Plan, stamp: str) -> None:
    """Write down what the report in `out` was made from.

    Args:
        out: folder of the report.
        plan: what was reported.
        stamp: `Ledger.stamp_at_rest` of the ledger that it was made from; "" = it cannot be told later.
    """
    if stamp:
        (out / MADE_FROM).write_text(json.dumps(_origin(out, plan, stamp)), encoding="utf-8")


def print_again(out: Path, plan: Plan, stamp: str, *, console: Console) -> Path | None:
    """Print the comparison of a report that still holds; its page, or None where it has to be made anew."""
    from orchestrator.analysis.stored import stored_comparison

    try:
        known = json.loads((out / MADE_FROM).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    if not stamp or known != _origin(out, plan, stamp):
        return None
    found = stored_comparison(out / PARQUET)
    if found is None:
        return None
    told = {"notes": found.notes, "few_shot": found.few_shot, "benchmark": found.benchmark}
    _print_comparison(found.rows, found.shared, told, console)
    return out / PAGE


def finished_already(view: SweepView, tracking_uri: str | None, console: Console) -> SweepOutcome | None:
    """How a finished sweep ended, its comparison printed again; None where there may be anything to do.

    Everything must be done or blocked and published, the ledger at rest, and the report made from this very ledger.
    """
    from orchestrator.execution.outcome import SweepOutcome
    from orchestrator.execution.tallies import MODEL_TAG
    from orchestrator.ledger.store import open_ledger

    cells = view.plan.cells
    done = [cell for cell in cells if cell.state == "done"]
    is_published = all(MODEL_TAG in view.records[str(cell.cell_id)].tags for cell in done)
    if not done or not is_published or any(cell.state not in ("done", "blocked") for cell in cells):
        return None
    stamp = open_ledger(view.folder, view.plan.name, tracking_uri=tracking_uri, mode="read").stamp_at_rest()
    page = print_again(view.folder.resolve() / "report", view.plan, stamp, console=console)
    if page is None:
        return None
    outcome = SweepOutcome(view.plan.name, view.folder.resolve(), finished=len(done), report=page)
    outcome.blocked = [cell.why_blocked for cell in cells if cell.state == "blocked" and not cell.optional]
    return outcome


def _origin(out: Path, plan: Plan, stamp: str) -> dict[str, Any]:
    """The ledger, the plan, the code, and the files themselves, so that no other report is taken for it."""
    from orchestrator.analysis.expected import expected_cells
    from orchestrator.analysis.schema import SCHEMA_VERSION

    files = [out / name for name in (PARQUET, CSV, LATEX, PAGE, EFFICIENCY)]
    grid = plan.grid
    told = [asdict(plan.search), grid.description, grid.seeds, [vars(cell) for cell in expected_cells(plan)]]
    return {
        "version": orchestrator.__version__,
        "form": [FORM, SCHEMA_VERSION],
        "protocol": grid.protocol,
        "ledger": stamp,
        "plan": content_hash(told),
        "files": [f"{file.stat().st_size}:{file.stat().st_mtime_ns}" if file.is_file() else "" for file in files],
    }
