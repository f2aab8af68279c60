"""Add a score to a sweep that is finished, or still runs, without training: from stored confusion matrices."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import LedgerError
from orchestrator.ledger.queries import run_rows
from orchestrator.ledger.store import open_ledger
from orchestrator.plan.planned import Plan

if TYPE_CHECKING:
    from orchestrator.analysis.rescored import RescoredCell
    from orchestrator.analysis.scorers import Scorer
    from orchestrator.ledger.records import RunRow

SAME = 1e-9
"""Relative difference up to which a stored score is the same: sums may be taken in another order."""


@dataclass(frozen=True, kw_only=True)
class Written:
    """What `write_scores` did."""

    added: int
    """Scores that were new to their runs."""
    kept: int
    """Scores that the runs had already, with the same value."""
    report: Path
    """The results table that holds them now."""


def scorers_for(names: Sequence[str] = (), files: Sequence[Path] = ()) -> list[Scorer]:
    """Scorers of the tool's own by name, and a user's own from files; all of the tool's where none is named.

    Raises:
        ConfigError: unknown name, or a file that is no metric.
    """
    from orchestrator.analysis.scorers import BUILT_IN, built_in, from_file

    wanted = names if names or files else BUILT_IN
    found = [built_in(name) for name in wanted] + [from_file(path) for path in files]
    return list({scorer.name: scorer for scorer in found}.values())


def rescore(
    folder: Path, plan: Plan, scorers: Sequence[Scorer], *, tracking_uri: str | None = None, by_unit: bool = False
) -> list[RescoredCell]:
    """Score all finished final runs of a sweep; changes nothing.

    Args:
        folder: the sweep's own folder.
        plan: the sweep as it stands now.
        scorers: from `scorers_for`.
        tracking_uri: MLflow store; None = the sweep's own.
        by_unit: also by test image or block, with bootstrap intervals.

    Raises:
        ConfigError: a user's metric failed.
        LedgerError: the ledger or an artifact cannot be read.
    """
    from orchestrator.analysis.expected import expected_cells
    from orchestrator.analysis.rescored import rescore_table
    from orchestrator.analysis.results import results_table

    with open_ledger(folder, plan.name, tracking_uri=tracking_uri, mode="read") as ledger:
        table = results_table(run_rows(ledger))
    return rescore_table(table, scorers, expected=expected_cells(plan), chosen_by=plan.search.metric, by_unit=by_unit)


def write_scores(folder: Path, plan: Plan, scorers: Sequence[Scorer], *, tracking_uri: str | None = None) -> Written:
    """Log scores as `test/<name>` to the finished final runs in MLflow, and make the report's files anew.

    Written scores run over all scored classes, as `test/miou` does. A score that a run has is never changed: where one
    differs, nothing at all is written.

    Raises:
        ConfigError: a user's metric failed.
        LedgerError: a driver is at work on the sweep, a run has another value for the same score, or MLflow is away.
    """
    from rich.console import Console

    from orchestrator.report import PARQUET, write_report

    with open_ledger(folder, plan.name, tracking_uri=tracking_uri, mode="drive") as ledger:
        ledger.flush()
        steps = {slot.key: slot.reached_step for cell in ledger.cells().values() for slot in cell.slots.values()}
        new, kept = _new_scores(run_rows(ledger), scorers)
        for key, values in new.items():
            ledger.log_metrics(key, steps.get(key, 0), {f"test/{name}": value for name, value in values.items()})
        ledger.flush()
        write_report(ledger, plan, folder / "report", console=Console(quiet=True))
    return Written(added=sum(map(len, new.values())), kept=kept, report=folder / "report" / PARQUET)


def _new_scores(rows: Sequence[RunRow], scorers: Sequence[Scorer]) -> tuple[dict[str, dict[str, float]], int]:
    """Scores by run and name that the runs do not have yet, and how many they have."""
    from orchestrator.analysis.results import results_table
    from orchestrator.analysis.scorers import final_score

    new: dict[str, dict[str, float]] = {}
    kept = 0
    finals = [row for row in rows if row.stage == "final" and row.state == "finished"]
    for row, run in zip(finals, results_table(finals).to_pylist(), strict=True):
        for scorer in scorers:
            value = final_score(run, scorer, headline=False)
            stored = row.metrics.get(f"test/{scorer.name}")
            if stored is not None:
                _refuse_change(row, run, scorer, stored, value)
                kept += 1
            elif value is not None:
                new.setdefault(row.key, {})[scorer.name] = value
    return new, kept


def _refuse_change(row: RunRow, run: Mapping[str, Any], scorer: Scorer, stored: float, value: float | None) -> None:
    if value is None or not math.isclose(stored, value, rel_tol=SAME, abs_tol=SAME):
        raise LedgerError(
            f"run {row.key} ({run['cell_name']}, seed {run['seed']}) has test/{scorer.name} {stored:g}, but its "
            f"confusion matrices give {'no score' if value is None else f'{value:g}'} now; a stored score is never "
            "changed, and nothing was written. Give a changed metric another name (that of its file)"
        )
