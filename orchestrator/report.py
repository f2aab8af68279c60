"""From the ledger to what people read: results.parquet, CSV, LaTeX, one HTML page; printed and logged to MLflow.

Everything is derived: it can be deleted and made again from the ledger at any time.
"""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from orchestrator.plan.planned import Plan

if TYPE_CHECKING:
    from orchestrator.ledger.store import Ledger

PARQUET, CSV, LATEX, PAGE = "results.parquet", "results.csv", "comparison.tex", "comparison.html"


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
    from orchestrator.analysis.expected import expected_cells
    from orchestrator.analysis.latex import write_latex
    from orchestrator.analysis.results import results_table, write_csv, write_parquet
    from orchestrator.analysis.summary import compare, comparison_data
    from orchestrator.analysis.terminal import comparison_notes, comparison_table
    from orchestrator.ledger.queries import run_rows
    from orchestrator.ledger.store import SWEEP_KEY

    table = results_table(run_rows(ledger))
    chosen_by = plan.search.metric
    rows = compare(table, metric=metric or chosen_by, expected=expected_cells(plan), chosen_by=chosen_by)
    sweep = {
        "name": plan.name,
        "description": plan.grid.description,
        "search": asdict(plan.search),
        "seeds": plan.grid.seeds,
    }
    files = [
        write_parquet(table, out / PARQUET, comparison=comparison_data(rows), sweep=sweep),
        write_csv(table, out / CSV),
        write_latex(rows, out / LATEX),
    ]
    files.append(render(files[0], out / PAGE))
    if rows:
        console.print(comparison_table(rows))
        console.print(comparison_notes(rows))
    if publish:
        for path in files:
            ledger.log_file(SWEEP_KEY, path, "report")
    return files
