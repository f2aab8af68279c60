"""How far a score hangs on which images or blocks were tested: scores by unit, and a bootstrap over units.

Units are drawn with replacement, their confusion matrices added, and the score of the sum averaged over the seeds of a
cell. Seeds themselves are not drawn anew: their spread is told beside it. Blocks of one scene are no independent
samples of other scenes, so an interval speaks of this scene only. A class that none of the drawn units holds does not
count in that draw's macro mean, so intervals of macro means reach further up than down where classes are rare.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.analysis.scorers import Scorer, headline_classes, unit_counts

DRAWS = 1000
LEVEL = 0.95
_SEED = 20_240_229


@dataclass(frozen=True, kw_only=True)
class UnitScores:
    """A cell's score, unit by unit."""

    by_unit: Mapping[str, float]
    """Mean over the seeds that tested the image or block; units without a defined score are left out."""
    low: float | None
    """Lower end of the percentile interval; None for fewer than two units."""
    high: float | None


def finals_by_cell(table: pa.Table) -> dict[str, list[dict[str, Any]]]:
    """Finished final runs of a results table, by cell id."""
    found: dict[str, list[dict[str, Any]]] = {}
    for run in table.to_pylist():
        if run["stage"] == "final" and run["state"] == "finished":
            found.setdefault(run["cell_id"], []).append(run)
    return found


def unit_scores(finals: Sequence[Mapping[str, Any]], scorer: Scorer, *, draws: int = DRAWS) -> UnitScores:
    """Scores by test image or block, and the 95% bootstrap interval over them.

    Args:
        finals: rows of the results table: the finished final runs of one cell.
        scorer: the score.
        draws: bootstrap samples. The same input gives the same interval.
    """
    found: dict[str, list[float]] = {}
    for run in finals:
        for unit in run["units"] or ():
            value = scorer.score(unit["confusion"], headline_classes(run), run["class_names"])
            if value is not None:
                found.setdefault(unit["name"], []).append(value)
    low, high = _interval([run for run in finals if run["units"]], scorer, draws)
    return UnitScores(by_unit={name: float(np.mean(values)) for name, values in found.items()}, low=low, high=high)


def _interval(finals: Sequence[Mapping[str, Any]], scorer: Scorer, draws: int) -> tuple[float | None, float | None]:
    if not finals or any(len(run["units"]) < 2 for run in finals):
        return None, None
    samples = np.array([_draws(run, scorer, draws) for run in finals])
    means = samples.mean(axis=0)
    means = means[np.isfinite(means)]
    if not means.size:
        return None, None
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(means, [tail, 100 - tail])
    return float(low), float(high)


def _draws(run: Mapping[str, Any], scorer: Scorer, draws: int) -> list[float]:
    """The score of each bootstrap sample; NaN where it is not defined."""
    counts_UKK = unit_counts(run)
    units = len(counts_UKK)
    # the same seed for every run: seeds that were tested on the same units are drawn together
    weights_DU = np.random.default_rng(_SEED).multinomial(units, np.full(units, 1 / units), size=draws)
    classes, names = headline_classes(run), run["class_names"]
    values = (scorer.score(np.tensordot(weights_U, counts_UKK, 1), classes, names) for weights_U in weights_DU)
    return [float("nan") if value is None else value for value in values]
