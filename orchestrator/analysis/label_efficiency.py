"""How few labels a class a strategy needs: curves over k labels a class, their area, and the labels to reach a score.

Cells of one data set and split only; a curve with a gap has no area. The axis is log2 k, so that every doubling of the
labels counts the same.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.analysis.rows import ComparisonRow
from orchestrator.analysis.significance import interval

REACHED, AT_ONCE, NEVER = "reached", "with the fewest", "not reached"


@dataclass(frozen=True, kw_only=True)
class Target:
    """The score to reach: that of the best in-domain baseline with the most labels. A mark, not a choice."""

    score: float
    strategy: str
    """Label of the baseline, the best by its test mean."""
    shots: float
    """Labels a class that it had."""


@dataclass(frozen=True, kw_only=True)
class Efficiency:
    """The curve of one strategy on one data set and split, over k labels a class."""

    strategy: str
    strategy_name: str
    regime: str | None
    init: str | None
    dataset: str
    split: str | None
    metric: str
    shots: tuple[float, ...]
    """k, rising."""
    area: float | None
    """Mean height of the score over log2 k, straight between the points, in score units; None with a gap."""
    area_interval: tuple[float, float] | None
    """95% bootstrap interval over seeds; None for fewer than five."""
    target: Target | None
    """None where an in-domain baseline with the most labels is not complete, or there is none."""
    shots_to_target: float | None
    """k at which the straight line between means first crosses the target's score; None where it does not, or where
    the smallest k is above it already."""
    reached: str | None
    """One of REACHED, AT_ONCE and NEVER; None without a target or with a gap."""
    reason: str = ""
    """Why there is no area."""


def efficiencies(rows: Sequence[ComparisonRow]) -> list[Efficiency]:
    """One entry a strategy, data set and split that was asked for at two numbers of labels a class or more."""
    scenes: dict[tuple[str, str | None], list[ComparisonRow]] = {}
    for row in rows:
        if row.budget_kind == "k_shot" and row.budget_value is not None and row.init != "synthetic":
            scenes.setdefault((row.dataset, row.split), []).append(row)
    found = []
    for members in scenes.values():
        shots = tuple(sorted({row.budget_value or 0.0 for row in members}))
        if len(shots) < 2:
            continue
        target = _target(members, shots[-1])
        curves: dict[str, dict[float, ComparisonRow]] = {}
        for row in members:
            curves.setdefault(row.strategy, {})[row.budget_value or 0.0] = row
        found += [_efficiency(curve, shots, target) for curve in curves.values()]
    return found


def _target(members: Sequence[ComparisonRow], most: float) -> Target | None:
    baselines = [
        row
        for row in members
        if row.strategy_name.startswith("in_domain/") and row.budget_value == most and row.state != "blocked"
    ]
    means = [row.mean for row in baselines if row.mean is not None]
    if not means or len(means) < len(baselines):
        return None
    best = max(baselines, key=lambda row: row.mean or 0.0)
    return Target(score=max(means), strategy=best.strategy, shots=most)


def _efficiency(curve: Mapping[float, ComparisonRow], shots: Sequence[float], target: Target | None) -> Efficiency:
    points = [curve[k] for k in sorted(curve)]
    gaps = [f"{k:g}-shot" for k in shots if k not in curve or curve[k].mean is None]
    row = points[0]
    means = [one.mean for one in points if one.mean is not None]
    crossing, reached = (None, None) if gaps or target is None else _crossing(shots, means, target.score)
    by_seed = [] if gaps else _areas(points, shots)
    return Efficiency(
        strategy=row.strategy,
        strategy_name=row.strategy_name,
        regime=row.regime,
        init=row.init,
        dataset=row.dataset,
        split=row.split,
        metric=row.metric,
        shots=tuple(shots),
        area=None if gaps else area(shots, means),
        area_interval=interval(by_seed),
        target=target,
        shots_to_target=crossing,
        reached=reached,
        reason=f"no complete cell with {', '.join(gaps)}" if gaps else "",
    )


def _areas(points: Sequence[ComparisonRow], shots: Sequence[float]) -> list[float]:
    """The area of each seed that every point has: its labelled subsets are nested, so they belong together."""
    seeds = [seed for seed in points[0].values if all(seed in row.values for row in points)]
    return [area(shots, [row.values[seed] for row in points]) for seed in seeds]


def area(shots: Sequence[float], scores: Sequence[float]) -> float:
    """Area under the straight lines between (log2 k, score), divided by the width: the mean height of the curve."""
    x = np.log2(np.asarray(shots, dtype=float))
    return float(np.trapezoid(np.asarray(scores, dtype=float), x) / (x[-1] - x[0]))


def _crossing(shots: Sequence[float], means: Sequence[float], score: float) -> tuple[float | None, str]:
    """Where the curve first reaches the score, on the log2 axis."""
    if means[0] >= score:
        return None, AT_ONCE
    for place in range(1, len(shots)):
        low, high = means[place - 1], means[place]
        if high >= score:
            share = (score - low) / (high - low)
            left, right = math.log2(shots[place - 1]), math.log2(shots[place])
            return float(2 ** (left + share * (right - left))), REACHED
    return None, NEVER


def shots_words(entry: Mapping[str, Any]) -> str:
    """Labels a class to reach the target: "7.4", "< 1", "> 20", or "-" where it cannot be said.

    Args:
        entry: an `Efficiency` as plain data.
    """
    if entry["reached"] == REACHED:
        return f"{entry['shots_to_target']:.1f}"
    ends = {AT_ONCE: f"≤ {entry['shots'][0]:g}", NEVER: f"> {entry['shots'][-1]:g}"}
    return ends.get(entry["reached"] or "", "-")


def target_words(entry: Mapping[str, Any], title: str) -> str:
    """What area and target mean for one data set and split.

    Args:
        entry: one of its curves, an `Efficiency` as plain data.
        title: the score's name for people.
    """
    shots = entry["shots"]
    words = f"area: mean height of {title} over log2 k, k = {shots[0]:g} to {shots[-1]:g}"
    target = entry["target"]
    if target is None:
        return f"{words}; no score to reach: an in-domain baseline with {shots[-1]:g} labels a class is not complete."
    return (
        f"{words}; labels to reach: labels a class at which the line between means first reaches "
        f"{100 * target['score']:.1f}, what the best in-domain baseline ({target['strategy']}) scores on test with "
        f"{target['shots']:g}; a mark to read off, not a choice."
    )


def efficiency_table(entries: Sequence[Efficiency]) -> pa.Table:
    """The curves' areas and labels to the target, one line a strategy, data set and split; absent is null."""
    return pa.Table.from_pylist([_line(entry) for entry in entries])


def _line(entry: Efficiency) -> dict[str, Any]:
    low, high = entry.area_interval or (None, None)
    target = entry.target
    return {
        **{name: getattr(entry, name) for name in ("dataset", "split", "strategy", "metric")},
        "shots": " ".join(f"{k:g}" for k in entry.shots),
        **{"area": entry.area, "area_low": low, "area_high": high},
        "target": target.score if target else None,
        "target_strategy": target.strategy if target else None,
        "target_shots": target.shots if target else None,
        **{name: getattr(entry, name) for name in ("shots_to_target", "reached", "reason")},
    }
