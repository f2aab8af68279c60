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
    interval: tuple[float, float] | None
    """95% bootstrap interval of the mean over seeds; None for fewer than five."""
    seeds: int


@dataclass(frozen=True, kw_only=True)
class LabelCurve:
    """Score against labels of one strategy on one data set and split; budgets of one kind only."""

    strategy: str
    dataset: str
    split: str | None
    budget_kind: str | None
    points: tuple[CurvePoint, ...]
    """By rising budget; only complete cells."""


@dataclass(frozen=True, kw_only=True)
class AcrossDatasets:
    """Mean of a strategy over data sets at one label budget: each data set counts once, random splits apart."""

    strategy: str
    label_budget: str
    has_random_split: bool
    datasets: tuple[str, ...]
    mean: float | None
    """None where one of the data sets has no complete cell."""


def label_curves(rows: Sequence[ComparisonRow]) -> list[LabelCurve]:
    """Label-efficiency curves, in the order of the rows."""
    groups: dict[tuple[str, str, str | None, str | None], list[ComparisonRow]] = {}
    for row in rows:
        if row.mean is not None:
            groups.setdefault((row.strategy, row.dataset, row.split, row.budget_kind), []).append(row)
    return [
        LabelCurve(strategy=strategy, dataset=dataset, split=split, budget_kind=kind, points=_points(members))
        for (strategy, dataset, split, kind), members in groups.items()
    ]


def across_datasets(rows: Sequence[ComparisonRow]) -> list[AcrossDatasets]:
    """Means over data sets, human labels only, for strategies that are asked for on all the same data sets.

    Random splits leak and are other test sets than the data sets' own: they have means of their own.
    """
    human = [row for row in rows if row.labels != "derived"]
    groups: dict[tuple[str, str, bool], list[ComparisonRow]] = {}
    asked: dict[tuple[str, bool], set[str]] = {}
    for row in human:
        is_random = row.split == "random"
        groups.setdefault((row.strategy, row.label_budget, is_random), []).append(row)
        asked.setdefault((row.label_budget, is_random), set()).add(row.dataset)
    found = []
    for (strategy, budget, is_random), members in groups.items():
        means = [row.mean for row in members]
        datasets = tuple(dict.fromkeys(row.dataset for row in members))
        is_whole = len(datasets) == len(members) and set(datasets) == asked[budget, is_random] and None not in means
        found.append(
            AcrossDatasets(
                strategy=strategy,
                label_budget=budget,
                has_random_split=is_random,
                datasets=datasets,
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
            interval=row.interval,
            seeds=len(row.values),
        )
        for row in ordered
        if row.mean is not None
    )
