"""From the runs of one cell to its row of the comparison. A cell that is not complete has no mean."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from orchestrator.analysis.contrasts import sample_spread
from orchestrator.analysis.expected import ExpectedCell
from orchestrator.analysis.results import parse_budget
from orchestrator.analysis.rows import CellState, ComparisonRow
from orchestrator.analysis.significance import interval


def expected_from(runs: Sequence[Mapping[str, Any]]) -> ExpectedCell:
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


def cell_row(
    cell: ExpectedCell,
    runs: Sequence[Mapping[str, Any]],
    metric: str,
    score_of: Callable[[Mapping[str, Any]], float | None],
    *,
    chosen_by: str,
    shared_s: Mapping[str, float],
) -> ComparisonRow:
    """One cell of the comparison.

    Args:
        cell: as it was planned.
        runs: its runs, search and final, as plain rows of the results table.
        metric: name of the score.
        score_of: the score of a final run.
        chosen_by: the validation score that marks the best strategy.
        shared_s: device seconds by stage of what it builds on and shares with other cells.
    """
    finals = [
        run
        for run in runs
        if run["stage"] == "final"
        and run["state"] == "finished"
        and (cell.final_seeds is None or run["seed"] in cell.final_seeds)
    ]
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
        interval=interval(list(values.values())) if is_complete else None,
        oa_border=_complete_mean([run.get("test_oa_border") for run in scored]) if is_complete else None,
        oa_interior=_complete_mean([run.get("test_oa_interior") for run in scored]) if is_complete else None,
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
        device_s=device_s(runs),
        shared_s=shared_s,
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


def device_s(runs: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Device seconds by stage, of stopped and failed runs too."""
    seconds: dict[str, float] = {}
    for run in runs:
        if run["device_s"] is not None:
            seconds[run["stage"]] = seconds.get(run["stage"], 0.0) + run["device_s"]
    return seconds
