"""What a sweep found: mean and spread over seeds of every cell, and what pretraining gave over its controls.

Means, the sample standard deviation, differences paired by seed, and, where there are enough seeds, which of the
differences hold (`significance`). A cell that is not complete has no mean.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import pyarrow as pa

from orchestrator.analysis.aggregates import across_datasets, label_curves
from orchestrator.analysis.cell_rows import cell_row, expected_from
from orchestrator.analysis.contrasts import chosen, control_family, with_gains
from orchestrator.analysis.expected import ExpectedCell
from orchestrator.analysis.few_shot import few_shot_data
from orchestrator.analysis.rows import ComparisonRow
from orchestrator.analysis.schema import COLUMNS
from orchestrator.analysis.scorers import Scorer, built_in, final_score
from orchestrator.analysis.shared_stages import SHARED_STAGES, SharedStage, shared_seconds, stage_seconds
from orchestrator.analysis.significance import with_verdicts
from orchestrator.analysis.wording import metric_title, notes, strategy_words
from orchestrator.metrics import ALIASES, FURTHER_METRICS, METRICS


def compare(
    table: pa.Table,
    *,
    metric: str | Scorer = "miou",
    expected: Sequence[ExpectedCell] | None = None,
    chosen_by: str | None = None,
    with_earlier: bool = False,
) -> list[ComparisonRow]:
    """The comparison by strategy, data set and label budget.

    Args:
        table: from `results_table`.
        metric: a score of the tool's own, over the data set's headline classes where it names any; or one that
            `rescore --write` stored; or a scorer of confusion matrices.
        expected: the cells of the plan; those without runs are listed with the reason, and runs of other cells are
            left out. None = every cell in the table, complete where it has a final run and none that failed.
        with_earlier: list cells with runs that the plan does not ask for, too, after all others.
        chosen_by: the validation score that marks the best strategy; None = `metric`, where validation has it.

    Raises:
        ConfigError: unknown metric.
    """
    if not isinstance(metric, Scorer):
        metric = ALIASES.get(metric, metric)
    name = metric.name if isinstance(metric, Scorer) else metric
    score_of = _test_score(table, metric)
    by_cell: dict[str, list[dict[str, Any]]] = {}
    for run in _plain_runs(table, with_units=_needs_units(table, metric)):
        if run["state"] != "superseded" and run["stage"] not in SHARED_STAGES:
            by_cell.setdefault(run["cell_id"], []).append(run)
    found = {cell_id: expected_from(runs) for cell_id, runs in by_cell.items()}
    cells = [_known(cell, found) for cell in expected or ()]
    if expected is None or with_earlier:
        known = {cell.cell_id for cell in cells}
        cells += [cell for cell_id, cell in found.items() if cell_id not in known]
    seconds = stage_seconds(table)
    rows = [
        cell_row(
            cell,
            by_cell.get(cell.cell_id or "", []),
            name,
            score_of,
            chosen_by=chosen_by or name,
            shared_s=shared_seconds(cell, seconds),
        )
        for cell in cells
    ]
    families: dict[Any, list[ComparisonRow]] = {}
    for row in rows:
        families.setdefault(control_family(row), []).append(row)
    rows = with_verdicts([with_gains(row, families[control_family(row)]) for row in rows])
    winners = {id(row) for row in chosen(rows if expected is None else rows[: len(expected)])}
    return [replace(row, chosen=id(row) in winners) for row in rows]


def _needs_units(table: pa.Table, metric: str | Scorer) -> bool:
    """Whether the score comes from the confusion matrices: they are most of the table, and slow to unpack."""
    if isinstance(metric, Scorer):
        return True
    is_stored = f"test_{metric}" in table.column_names[len(COLUMNS) :] and metric not in FURTHER_METRICS
    return metric not in METRICS and not is_stored


def _plain_runs(table: pa.Table, *, with_units: bool) -> list[dict[str, Any]]:
    if with_units:
        return table.to_pylist()
    return table.drop_columns(["units"]).to_pylist()


def _test_score(table: pa.Table, metric: str | Scorer) -> Callable[[Mapping[str, Any]], float | None]:
    """How a final run's test score is found: stored, or from its confusion matrices."""
    if isinstance(metric, Scorer):
        return lambda run: final_score(run, metric)
    if metric in METRICS:
        return lambda run: run[f"headline_{metric}"]
    if f"test_{metric}" in table.column_names[len(COLUMNS) :] and metric not in FURTHER_METRICS:
        return lambda run: run[f"test_{metric}"]
    scorer = built_in(metric)
    return lambda run: final_score(run, scorer)


def comparison_data(rows: Sequence[ComparisonRow], shared: Sequence[SharedStage] = ()) -> dict[str, Any]:
    """The comparison as plain data (keys as text, absent is None) for the results file and for dashboards.

    Args:
        rows: from `compare`.
        shared: from `shared_stages`, of the same table.
    """
    return {
        "metric": rows[0].metric if rows else None,
        "metric_title": metric_title(rows[0].metric) if rows else None,
        "rows": [
            _plain(asdict(row) | dict(zip(("title", "details"), strategy_words(row), strict=True))) for row in rows
        ],
        "curves": [_plain(asdict(curve)) for curve in label_curves(rows)],
        "across_datasets": [_plain(asdict(entry)) for entry in across_datasets(rows)],
        "few_shot": few_shot_data(rows),
        "shared": [asdict(stage) for stage in shared],
        "notes": notes(rows),
    }


def _plain(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value


def _known(cell: ExpectedCell, found: Mapping[str, ExpectedCell]) -> ExpectedCell:
    """A cell whose data set is not prepared here has no id; its runs, made elsewhere, are known by its factors."""
    if cell.cell_id is not None:
        return cell
    names = ("strategy", "dataset", "label_budget", "split", "selection")
    same = [i for i, other in found.items() if all(getattr(other, name) == getattr(cell, name) for name in names)]
    return replace(cell, cell_id=same[0]) if len(same) == 1 else cell
