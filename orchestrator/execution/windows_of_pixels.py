"""Windows around single pixels, cut from memory, and pixels drawn at random without listing them all."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

TRIES = 64
"""A pixel is looked for at random so often before all of its image are listed: nearly empty masks only."""


def reflected(places: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Coordinates beyond an edge, mirrored into 0..size-1 (the edge itself is not repeated)."""
    period = max(1, 2 * (size - 1))
    inside = np.abs(places) % period
    return np.where(inside < size, inside, period - inside)


def window_places(
    rows_N: NDArray[np.int64], columns_N: NDArray[np.int64], side_px: int, shape: tuple[int, int]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows `[n, p, 1]` and columns `[n, 1, p]` of windows around pixels, reflected at the image's edges."""
    offsets = np.arange(side_px) - side_px // 2
    rows = reflected(rows_N[:, None] + offsets, shape[0])
    columns = reflected(columns_N[:, None] + offsets, shape[1])
    return rows[:, :, None], columns[:, None, :]


def turned(window: NDArray[np.float32], generator: np.random.Generator) -> NDArray[np.float32]:
    """A window `[C, p, p]` after random quarter turns and mirroring."""
    window = np.rot90(window, int(generator.integers(4)), axes=(1, 2))
    return window[:, :, ::-1] if generator.integers(2) else window


class UnlabelledPixels:
    """Pixels that may be seen, drawn at random; an image counts with its number of such pixels."""

    def __init__(self, masks: Sequence[NDArray[np.bool_]]) -> None:
        self._masks = list(masks)
        counts = np.array([int(mask.sum()) for mask in self._masks], dtype=np.float64)
        self.count = int(counts.sum())
        self._shares = counts / max(1.0, counts.sum())

    def draw(self, count: int, seed: int) -> NDArray[np.int64]:
        """Image, row and column of pixels `[n, 3]`, with replacement; a function of the seed alone."""
        generator = np.random.default_rng(seed)
        images = generator.choice(len(self._masks), size=count, p=self._shares)
        return np.array([self._one(int(image), generator) for image in images], dtype=np.int64).reshape(count, 3)

    def _one(self, image: int, generator: np.random.Generator) -> tuple[int, int, int]:
        mask = self._masks[image]
        for _ in range(TRIES):
            row, column = int(generator.integers(mask.shape[0])), int(generator.integers(mask.shape[1]))
            if mask[row, column]:
                return image, row, column
        rows, columns = np.nonzero(mask)
        chosen = int(generator.integers(len(rows)))
        return image, int(rows[chosen]), int(columns[chosen])
