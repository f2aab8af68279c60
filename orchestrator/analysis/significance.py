"""Which differences to a control hold: a signed-rank test over seeds, Holm's correction, a bootstrap interval.

Differences are paired: one seed is the same labelled subset and fold on both sides. A p-value is given only where the
number of pairs could carry one at all: with n pairs no exact two-sided signed-rank test falls below 2 / 2**n.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from orchestrator.analysis.contrasts import seeds_needed
from orchestrator.analysis.rows import ComparisonRow, Gain

ALPHA = 0.05
MARGIN = 0.01
"""Differences within one point either way are of no use to anybody: that is what `equivalent` means."""
DRAWS = 10_000
_SEED = 20_260_131

Verdict = Literal["better", "worse", "equivalent", "undecided"]


def with_verdicts(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """The rows with an interval, a p-value after Holm and a verdict for every gain that has enough pairs.

    The family of tests is all gains of the comparison, each counted once where both controls of a cell are one.
    """
    gains = {id(gain): gain for row in rows for gain in (row.gain_same_regime, row.gain_full) if gain is not None}
    family: dict[tuple[str, ...], Gain] = {}
    for row in rows:
        for gain in (row.gain_same_regime, row.gain_full):
            if gain is not None:
                family[(*row.group, row.strategy, gain.control)] = gain
    if not family:
        return list(rows)
    needed = seeds_needed(len(family), ALPHA)
    tested = {key: gain for key, gain in family.items() if gain.pairs >= needed}
    adjusted = dict(
        zip(tested, holm([signed_rank(list(g.differences.values())) for g in tested.values()]), strict=True)
    )
    judged: dict[int, Gain] = {}
    for row in rows:
        for gain in (row.gain_same_regime, row.gain_full):
            if gain is not None:
                p_value = adjusted.get((*row.group, row.strategy, gain.control))
                judged[id(gain)] = _judged(gain, p_value)
    assert judged.keys() == gains.keys()
    return [
        replace(
            row,
            gain_same_regime=row.gain_same_regime and judged[id(row.gain_same_regime)],
            gain_full=row.gain_full and judged[id(row.gain_full)],
        )
        for row in rows
    ]


def signed_rank(differences: Sequence[float]) -> float:
    """Two-sided p-value of Wilcoxon's signed-rank test (exact without ties and zeros); 1 where all are zero."""
    from scipy.stats import wilcoxon

    if not any(differences):
        return 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # with ties scipy says that it approximates; that is in the docstring here
        return float(wilcoxon(differences).pvalue)


def holm(p_values: Sequence[float]) -> list[float]:
    """P-values after Holm's step-down correction (Holm 1979), in the given order, at most 1."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, highest = [0.0] * len(p_values), 0.0
    for rank, index in enumerate(order):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[index]))
        adjusted[index] = highest
    return adjusted


def interval(differences: Sequence[float], level: float = 0.95) -> tuple[float, float] | None:
    """Percentile bootstrap interval of the mean difference; None for fewer than five pairs.

    The same differences give the same interval.
    """
    if len(differences) < 5:
        return None
    generator = np.random.default_rng(_SEED)
    values = np.asarray(differences)
    means = values[generator.integers(len(values), size=(DRAWS, len(values)))].mean(axis=1)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def _judged(gain: Gain, p_value: float | None) -> Gain:
    found = interval(list(gain.differences.values()))
    verdict: Verdict | None = None
    if p_value is not None and found is not None:
        if p_value < ALPHA:
            verdict = "better" if gain.mean > 0 else "worse"
        elif found[0] > -MARGIN and found[1] < MARGIN:
            verdict = "equivalent"
        else:
            verdict = "undecided"
    return replace(gain, interval=found, p_adjusted=p_value, verdict=verdict)
