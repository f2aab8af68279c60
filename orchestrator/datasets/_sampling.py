"""How many labels a budget means, and in which order pixels are drawn, so that smaller budgets are subsets."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import UNLABELLED
from orchestrator.datasets._sides import Sides
from orchestrator.datasets._streams import shuffled, stream
from orchestrator.datasets.store import PreparedDataset
from orchestrator.plan.cells import LabelBudget


def held_out(count: int) -> NDArray[np.bool_]:
    """Which of the first `count` pixels drawn of a class are for validation: a fifth, rounded up.

    A fixed rule on the place in the order, so that with a larger budget no pixel changes its role. Places 1, 5, 10,
    15 ... and never place 0: a class with a single label trains on it.
    """
    place = np.arange(count)
    validates: NDArray[np.bool_] = (place == 1) | ((place % 5 == 0) & (place > 0))
    return validates


def shots(k: int, available: int) -> int:
    """Labels of a class with `available` pixels under k-shot: k, or half of them, rounded up, if it has below 2k."""
    return k if available >= 2 * k else math.ceil(available / 2)


def fraction_count(fraction: float, available: int) -> int:
    """Labels of a class under a fraction: rounded, at least one where there is any."""
    return min(available, max(1, math.floor(fraction * available + 0.5)))


def count_of(budget: LabelBudget, available: int) -> int:
    """Labels that the budget allows of a class with `available` pixels."""
    if budget.kind == "k_shot":
        return shots(int(budget.value), available)
    return fraction_count(budget.value, available)


def sided_shots(k: int) -> tuple[int, int]:
    """K labels a class shared between a train and a validation side: the validation side gives a fifth, rounded up."""
    of_validation = math.ceil(k / 5)
    return k - of_validation, of_validation


class Drawing:
    """Labelled pixels by side and class, each class in its own random but fixed order."""

    def __init__(self, prepared: PreparedDataset, sides: Sides, fold: int, sampler: str, seed: int) -> None:
        self.classes = prepared.facts.num_classes
        self.labels = np.concatenate([image.labels_HW.reshape(-1) for image in prepared.images])
        self.side = np.concatenate([side.reshape(-1) for side in sides.side_maps])
        self.stream_names = ("labels", prepared.facts.name, sides.split, fold, sampler, seed)

    def side_pixels(self, side: int) -> NDArray[np.int64]:
        return np.flatnonzero((self.side == side) & (self.labels != UNLABELLED))

    def in_order(self, side: int) -> list[NDArray[np.int64]]:
        """Pixels of each class on a side, in the order in which budgets take them."""
        pixels = self.side_pixels(side)
        ordered = []
        for index in range(self.classes):
            own = pixels[self.labels[pixels] == index]
            ordered.append(own[shuffled(own.size, stream(*self.stream_names, side, index))])
        return ordered


def label_maps(labels: Sequence[NDArray[np.int16]], chosen: NDArray[np.int64]) -> tuple[NDArray[np.int16], ...]:
    """Label maps that keep only the chosen pixels (indices over all images)."""
    maps, first = [], 0
    for image in labels:
        flat = np.full(image.size, UNLABELLED, dtype=np.int16)
        here = chosen[(chosen >= first) & (chosen < first + image.size)] - first
        flat[here] = image.reshape(-1)[here]
        maps.append(flat.reshape(image.shape))
        first += image.size
    return tuple(maps)
