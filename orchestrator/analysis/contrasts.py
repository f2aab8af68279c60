"""What pretraining gave over its controls, paired by seed, and which strategy validation chose.

Test scores are reported and never choose anything.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np

from orchestrator.analysis.rows import ComparisonRow, Gain
from orchestrator.errors import ConfigError

_REGIME_AND_INIT = re.compile(r"(?:^|,)(?:regime|init)=[^,]*")


def seeds_needed(contrasts: int, alpha: float = 0.05) -> int:
    """Fewest seeds with which an exact two-sided Wilcoxon signed-rank test under Holm could fall below `alpha`.

    With n pairs its smallest p-value is 2 / 2**n; Holm multiplies the smallest of m p-values by m.

    Raises:
        ConfigError: fewer than one contrast.
    """
    if contrasts < 1:
        raise ConfigError(f"{contrasts} contrasts; allowed: 1 or more")
    seeds = 1
    while contrasts * 2.0 / 2**seeds > alpha:
        seeds += 1
    return seeds


def count_contrasts(rows: Iterable[ComparisonRow]) -> int:
    """Comparisons with a control; where both controls are one and the same, it counts once."""
    return sum(
        len({gain.control for gain in (row.gain_same_regime, row.gain_full) if gain is not None}) for row in rows
    )


def with_gains(row: ComparisonRow, rows: Iterable[ComparisonRow]) -> ComparisonRow:
    """A complete pretrained cell with its gains over both controls among `rows`, where those are complete too."""
    if row.init != "pretrained" or row.state != "complete":
        return row
    controls = [other for other in rows if row.strategy in other.control_of] or [
        other
        for other in rows
        if other.init == "random"
        and control_family(other) == control_family(row)
        and _other_fields(other.strategy) == _other_fields(row.strategy)
    ]
    found = {regime: next((c for c in controls if c.regime == regime), None) for regime in (row.regime, "full")}
    return replace(row, gain_same_regime=_gain(row, found[row.regime]), gain_full=_gain(row, found["full"]))


def control_family(row: ComparisonRow) -> tuple[str, tuple[str, str, str]]:
    """What a pretrained cell and its controls share: strategy, data set, budget and split."""
    return row.strategy_name, row.group


def _other_fields(label: str) -> str:
    """The fields that a label names besides regime and initialisation: a control shares them."""
    inside = label.partition("[")[2].rstrip("]")
    return _REGIME_AND_INIT.sub("", inside).strip(",")


def _gain(row: ComparisonRow, control: ComparisonRow | None) -> Gain | None:
    if control is None or control.state != "complete":
        return None
    differences = {seed: row.values[seed] - control.values[seed] for seed in row.values if seed in control.values}
    if not differences:
        return None
    numbers = list(differences.values())
    return Gain(
        control=control.strategy,
        mean=float(np.mean(numbers)),
        spread=sample_spread(numbers),
        pairs=len(numbers),
        differences=differences,
    )


def chosen(rows: Sequence[ComparisonRow]) -> list[ComparisonRow]:
    """The best of each data set, budget and split by validation; none where a cell that can run is not complete."""
    groups: dict[tuple[str, str, str], list[ComparisonRow]] = {}
    for row in rows:
        # synthetic weights prove the loading path: what they score says nothing, so they are never the best
        if row.labels != "derived" and row.state != "blocked" and row.init != "synthetic":
            groups.setdefault(row.group, []).append(row)
    best = []
    for members in groups.values():
        scores = [row.validation_mean for row in members]
        if len(members) > 1 and None not in scores:
            best.append(max(members, key=lambda row: row.validation_mean or 0.0))
    return best


def sample_spread(values: Iterable[float]) -> float | None:
    """Sample standard deviation (ddof = 1); None for fewer than two values."""
    numbers = list(values)
    return float(np.std(numbers, ddof=1)) if len(numbers) > 1 else None
