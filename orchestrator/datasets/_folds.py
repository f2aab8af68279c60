"""Cross-validation over the images of a set, with rare classes spread over the folds as evenly as possible."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import FoldPlan
from orchestrator.datasets._streams import shuffled
from orchestrator.errors import ConfigError

SWAPS = 4000
ABSENT_COST = 4.0
"""Cost of a class that a group of images lacks, though there are images enough to give it to every group."""


def balanced_folds(
    names: Sequence[str], counts_IK: NDArray[np.int64], folds: int, generator: np.random.Generator
) -> tuple[FoldPlan, ...]:
    """Fold f: group f of the images tests, the next group validates, all others train.

    Args:
        names: one an image.
        counts_IK: labelled pixels of each class in each image.
        folds: number of groups; 3 or more, so that each side has images.
        generator: decides between equally good groupings.

    Raises:
        ConfigError: fewer than 3 folds, or fewer images than folds.
    """
    if folds < 3 or folds > len(names):
        raise ConfigError(
            f"{folds} folds over {len(names)} images; allowed: 3 to the number of images, "
            "because each fold needs images to train, to validate and to test; change folds or give split_lists"
        )
    group = _balance(counts_IK.astype(np.float64), folds, generator)

    def members(*wanted: int) -> tuple[str, ...]:
        return tuple(name for name, own in zip(names, group, strict=True) if own in wanted)

    plans = []
    for fold in range(folds):
        following = (fold + 1) % folds
        others = [index for index in range(folds) if index not in (fold, following)]
        plans.append(FoldPlan(train=members(*others), validation=members(following), test=members(fold)))
    return tuple(plans)


def _balance(counts_IK: NDArray[np.float64], folds: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """Group of each image: swaps between groups of equal size while they even out the classes."""
    counts_IK = counts_IK[:, counts_IK.sum(axis=0) > 0]
    totals = np.maximum(counts_IK.sum(axis=0), 1)
    enough = (counts_IK > 0).sum(axis=0) >= folds
    group = np.empty(len(counts_IK), dtype=np.int64)
    group[shuffled(len(group), generator)] = np.arange(len(group)) % folds

    def cost(of: NDArray[np.int64]) -> float:
        share_GK = np.equal.outer(np.arange(folds), of) @ counts_IK / totals
        absent = ((share_GK == 0) & enough).sum()
        return float(((share_GK - 1 / folds) ** 2).sum() + ABSENT_COST * absent)

    current = cost(group)
    for first, second in (generator.random((SWAPS, 2)) * len(group)).astype(np.int64):
        if group[first] == group[second]:
            continue
        swapped = group.copy()
        swapped[[first, second]] = group[[second, first]]
        swapped_cost = cost(swapped)
        if swapped_cost < current:
            group, current = swapped, swapped_cost
    return group
