"""What a sweep found: mean and spread over seeds of every cell, and what pretraining gave over its controls.

Means, the sample standard deviation, differences paired by seed, and, where there are enough seeds, which of the
differences hold (`significance`). A cell that is not complete has no mean.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.analysis.aggregates import across_datasets, label_curves
from orchestrator.analysis.contrasts import chosen, control_family, sample_spread, with_gains
from orchestrator.analysis.expected import ExpectedCell
from orchestrator.analysis.results import parse_budget
from orchestrator.analysis.rows import CellState, ComparisonRow
from orchestrator.analysis.schema import COLUMNS
from orchestrator.analysis.scorers import Scorer, built_in, final_score
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
        if run["state"] != "superseded":
            by_cell.setdefault(run["cell_id"], []).append(run)
    found = {cell_id: _expected_from(runs) for cell_id, runs in by_cell.items()}
    cells = [_known(cell, found) for cell in expected or ()]
    if expected is None or with_earlier:
        known = {cell.cell_id for cell in cells}
        cells += [cell for cell_id, cell in found.items() if cell_id not in known]
    rows = [_row(cell, by_cell.get(cell.cell_id or "", []), name, score_of, chosen_by or name) for cell in cells]
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


def comparison_data(rows: Sequence[ComparisonRow]) -> dict[str, Any]:
    """The comparison as plain data (keys as text, absent is None) for the results file and for dashboards."""
    return {
        "metric": rows[0].metric if rows else None,
        "metric_title": metric_title(rows[0].metric) if rows else None,
        "rows": [
            _plain(asdict(row) | dict(zip(("title", "details"), strategy_words(row), strict=True))) for row in rows
        ],
        "curves": [_plain(asdict(curve)) for curve in label_curves(rows)],
        "across_datasets": [_plain(asdict(entry)) for entry in across_datasets(rows)],
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


def _expected_from(runs: Sequence[Mapping[str, Any]]) -> ExpectedCell:
    """A cell as its own runs describe it, where no plan is at hand."""
    first = runs[0]
    finals = {run["seed"] for run in runs if run["stage"] == "final"}
    failed = any(run["stage"] == "final" and run["state"] == "failed" for run in runs)
    return ExpectedCell(
        cell_id=first["cell_id"],
        strategy=first["strategy"] or "",
        strategy_name=first["strategy_name"] or "",
        regime=first["regime"],
        init=first["init"],
        dataset=first["dataset"] or "",
        labels=first["labels"] or "human",
        label_budget=first["label_budget"] or "",
        transfer=first["transfer"],
        leakage=first["leakage"],
        split=first["split"],
        selection=first["selection"],
        control_of=tuple((first["control_of"] or "").split(" | ")) if first["control_of"] else (),
        seeds=max(len(finals), 1),
        optional=bool(first["optional"]),
        state="failed" if failed else "partial",
    )


def _row(
    cell: ExpectedCell,
    runs: Sequence[Mapping[str, Any]],
    metric: str,
    score_of: Callable[[Mapping[str, Any]], float | None],
    chosen_by: str,
) -> ComparisonRow:
    finals = [run for run in runs if run["stage"] == "final" and run["state"] == "finished"]
    with_scores = [(run, score_of(run)) for run in finals]
    scored = [run for run, score in with_scores if score is not None]
    values = {int(run["seed"]): float(score) for run, score in with_scores if score is not None}
    state, reason = _state(cell, scored, values)
    is_complete = state == "complete"
    validation = [_validation(run, chosen_by) for run in scored]
    kind, budget = parse_budget(cell.label_budget)
    return ComparisonRow(
        strategy=cell.strategy,
        strategy_name=cell.strategy_name,
        regime=cell.regime,
        init=cell.init,
        dataset=cell.dataset,
        labels=cell.labels,
        label_budget=cell.label_budget,
        budget_kind=kind,
        budget_value=budget,
        transfer=cell.transfer,
        leakage=cell.leakage,
        split=cell.split,
        selection=cell.selection,
        normalisation_scope=_common(runs, "normalisation_scope"),
        optional=cell.optional,
        control_of=cell.control_of,
        cell_id=cell.cell_id,
        state=state,
        reason=reason,
        metric=metric,
        values=dict(sorted(values.items())),
        seeds_expected=cell.seeds,
        mean=float(np.mean(list(values.values()))) if is_complete else None,
        spread=sample_spread(values.values()) if is_complete else None,
        validation_mean=_complete_mean(validation) if is_complete else None,
        chosen_by=None if chosen_by == metric else chosen_by,
        labels_train=_mean(finals, "labels_train"),
        labels_validation=_mean(finals, "labels_validation"),
        classes_trained=min(_present(finals, "classes_trained"), default=None),
        classes=max(map(len, _present(finals, "scored_classes")), default=None),
        class_iou=_class_iou(scored) if is_complete else {},
        audit=_audit(finals),
        parameters_total=_common(runs, "parameters_total"),
        parameters_trained=max(_present(finals, "parameters_trained"), default=None),
        bands_used=_common(runs, "bands_used"),
        device_s=_device_s(runs),
    )


def _state(cell: ExpectedCell, scored: Sequence[Any], values: Mapping[int, float]) -> tuple[CellState, str]:
    if len(scored) > len(values):
        return "incomplete", "two finished final runs for one seed; start the sweep again to reconcile its ledger"
    if len(values) >= cell.seeds:
        return "complete", ""
    if cell.state in ("blocked", "failed"):
        state: CellState = "blocked" if cell.state == "blocked" else "failed"
        return state, cell.reason
    return "incomplete", cell.reason or f"{len(values)} of {cell.seeds} seeds finished"


def _validation(run: Mapping[str, Any], metric: str) -> float | None:
    """Validation score of the weights that were scored on test: the best checkpoint's, unless the last was taken."""
    takes_last = json.loads(run["params"] or "{}").get("train.checkpoint") == "last"
    best = None if takes_last else run.get(f"val_best_{metric}")
    score: float | None = run.get(f"val_{metric}") if best is None else best
    return score


def _complete_mean(numbers: Sequence[float | None]) -> float | None:
    """Mean; None where a number is missing."""
    present = [number for number in numbers if number is not None]
    return float(np.mean(present)) if present and len(present) == len(numbers) else None


def _present(runs: Sequence[Mapping[str, Any]], column: str) -> list[Any]:
    return [run[column] for run in runs if run[column] is not None]


def _mean(runs: Sequence[Mapping[str, Any]], column: str) -> float | None:
    numbers = _present(runs, column)
    return float(np.mean(numbers)) if numbers else None


def _common(runs: Sequence[Mapping[str, Any]], column: str) -> Any:
    """The value that all runs share; None where they differ or have none."""
    found = set(_present(runs, column))
    return found.pop() if len(found) == 1 else None


def _class_iou(finals: Sequence[Mapping[str, Any]]) -> dict[str, float | None]:
    """Mean IoU of each class over seeds; None for a class without test pixels in every seed's split."""
    found: dict[str, list[float]] = {}
    for run in finals:
        for name, iou in zip(run["class_names"] or (), run["test_iou"] or (), strict=True):
            found.setdefault(name, []).extend([] if iou is None else [iou])
    return {name: float(np.mean(numbers)) if numbers else None for name, numbers in found.items()}


def _audit(finals: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """The audit of the first seed's split."""
    texts = _present(sorted(finals, key=lambda run: run["seed"]), "audit")
    return json.loads(texts[0]) if texts else None


def _device_s(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    seconds: dict[str, float] = {}
    for run in runs:
        if run["device_s"] is not None:
            seconds[run["stage"]] = seconds.get(run["stage"], 0.0) + run["device_s"]
    return seconds
