"""What goes beyond one cell: label-efficiency curves, and means across data sets.

Labels that come from a model ("derived") never enter, and a mean over cells of which one is missing does not exist.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from orchestrator.analysis.rows import ComparisonRow


@dataclass(frozen=True, kw_only=True)
class CurvePoint:
    """One label budget of a curve."""

    label_budget: str
    labels: float | None
    """Labelled pixels used, validation included, mean over seeds; None where unknown."""
    mean: float
    spread: float | None
    seeds: int


@dataclass(frozen=True, kw_only=True)
class LabelCurve:
    """Score against labels of one strategy on one data set; budgets of one kind only."""

    strategy: str
    dataset: str
    budget_kind: str | None
    points: tuple[CurvePoint, ...]
    """By rising budget; only complete cells."""


@dataclass(frozen=True, kw_only=True)
class AcrossDatasets:
    """Mean of a strategy over data sets at one label budget: each data set counts once."""

    strategy: str
    label_budget: str
    datasets: tuple[str, ...]
    mean: float | None
    """None where one of the data sets has no complete cell."""


def label_curves(rows: Sequence[ComparisonRow]) -> list[LabelCurve]:
    """Label-efficiency curves, in the order of the rows."""
    groups: dict[tuple[str, str, str | None], list[ComparisonRow]] = {}
    for row in rows:
        if row.mean is not None:
            groups.setdefault((row.strategy, row.dataset, row.budget_kind), []).append(row)
    return [
        LabelCurve(strategy=strategy, dataset=dataset, budget_kind=kind, points=_points(members))
        for (strategy, dataset, kind), members in groups.items()
    ]


def across_datasets(rows: Sequence[ComparisonRow]) -> list[AcrossDatasets]:
    """Means over data sets, human labels only, for strategies that are asked for on all the same data sets."""
    human = [row for row in rows if row.labels != "derived"]
    groups: dict[tuple[str, str], list[ComparisonRow]] = {}
    for row in human:
        groups.setdefault((row.strategy, row.label_budget), []).append(row)
    asked = {budget: {row.dataset for row in human if row.label_budget == budget} for _, budget in groups}
    found = []
    for (strategy, budget), members in groups.items():
        means = [row.mean for row in members]
        is_whole = {row.dataset for row in members} == asked[budget] and None not in means
        found.append(
            AcrossDatasets(
                strategy=strategy,
                label_budget=budget,
                datasets=tuple(row.dataset for row in members),
                mean=float(np.mean([mean for mean in means if mean is not None])) if is_whole else None,
            )
        )
    return found


def _points(members: Sequence[ComparisonRow]) -> tuple[CurvePoint, ...]:
    ordered = sorted(members, key=lambda row: row.budget_value or 0.0)
    return tuple(
        CurvePoint(
            label_budget=row.label_budget,
            labels=None if row.labels_train is None else row.labels_train + (row.labels_validation or 0.0),
            mean=row.mean,
            spread=row.spread,
            seeds=len(row.values),
        )
        for row in ordered
        if row.mean is not None
    )
