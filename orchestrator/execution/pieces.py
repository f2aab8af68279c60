"""Parts of images that are scored one by one, and which of their pixels lie near a border between classes."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

IGNORED = -1
EVALUATION_TILE_PX = 1024
TILE_MARGIN_PX = 64
BORDER_PX = 2
"""Pixels with another class so near count as border pixels (what a frequency constraint is said to help)."""


@dataclass(frozen=True)
class Piece:
    """A part of an image to predict: the window to feed and the labels to score in it."""

    image: int
    rows: slice
    columns: slice
    labels_HW: np.ndarray
    """Labels of the window; -1 outside the part that this piece is responsible for."""
    units_HW: np.ndarray


def near_borders(labels_HW: np.ndarray, reach_px: int = BORDER_PX) -> np.ndarray:
    """`[H, W]` whether a labelled pixel of another class lies within `reach_px` along both axes."""
    from scipy.ndimage import maximum_filter, minimum_filter

    side = 2 * reach_px + 1
    labels = labels_HW.astype(np.int32)
    highest = maximum_filter(labels, size=side, mode="nearest")
    lowest = minimum_filter(np.where(labels == IGNORED, np.iinfo(np.int32).max, labels), size=side, mode="nearest")
    near: np.ndarray = (labels != IGNORED) & ((highest != labels) | (lowest != labels))
    return near


def tiles(size: int) -> Iterator[tuple[slice, slice]]:
    """(window, core) pairs along one axis: cores partition the axis, windows add a margin of context."""
    if size <= EVALUATION_TILE_PX:
        yield slice(0, size), slice(0, size)
        return
    step = EVALUATION_TILE_PX - 2 * TILE_MARGIN_PX
    for start in range(0, size, step):
        end = min(start + step, size)
        yield slice(max(0, start - TILE_MARGIN_PX), min(size, end + TILE_MARGIN_PX)), slice(start, end)
