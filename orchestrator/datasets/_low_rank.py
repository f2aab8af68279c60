"""A cube kept as scores and coefficients: only the pixels that are asked for are ever decoded."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

PIXELS_AT_ONCE = 1024


class LowRankCube:
    """Looks like an array `[H, W, C]` float32; its spectra are `scores @ coefficients + mean`.

    Indexing takes what arrays take for rows, columns and bands (numbers, slices, integer arrays, a mask over rows and
    columns, an ellipsis) and returns plain arrays. The last digit of a decoded number can depend on how many pixels
    are decoded at once, as in every product of matrices.
    """

    ndim = 3
    dtype = np.dtype(np.float32)

    def __init__(
        self, scores_HWD: NDArray[np.float32], coefficients_DC: NDArray[np.float32], mean_C: NDArray[np.float32]
    ) -> None:
        self.scores_HWD = scores_HWD
        self.coefficients_DC = coefficients_DC
        self.mean_C = mean_C

    @property
    def shape(self) -> tuple[int, int, int]:
        height, width = self.scores_HWD.shape[:2]
        return height, width, len(self.mean_C)

    @property
    def rank(self) -> int:
        return len(self.coefficients_DC)

    def __len__(self) -> int:
        return len(self.scores_HWD)

    def __getitem__(self, key: Any) -> NDArray[np.float32]:
        place, bands = _split_key(key)
        if isinstance(bands, slice):
            return self._decode(self.scores_HWD[place], bands)
        if all(isinstance(part, slice) for part in place):
            return self._decode(self.scores_HWD[place], slice(None))[..., bands]
        # Arrays for pixels and for bands together: NumPy's own rules, on the decoded rows.
        return np.asarray(self)[(*place, bands)]

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[Any]:
        if copy is False:
            raise ValueError("a cube of scores has no array to share; it is decoded into a new one")
        return self._decode(self.scores_HWD, slice(None)).astype(dtype or self.dtype, copy=False)

    def astype(self, dtype: Any) -> NDArray[Any]:
        return np.asarray(self).astype(dtype)

    def _decode(self, scores: NDArray[np.float32], bands: slice) -> NDArray[np.float32]:
        """Spectra of scores `[..., D]` as one product of two matrices, which is many times faster than a stack."""
        flat = np.ascontiguousarray(scores).reshape(-1, scores.shape[-1])
        coefficients, mean = self.coefficients_DC[:, bands], self.mean_C[bands]
        decoded = np.empty((len(flat), len(mean)), dtype=np.float32)
        for first in range(0, len(flat), PIXELS_AT_ONCE):
            # The mean is added while the product is still in the processor's cache.
            part = decoded[first : first + PIXELS_AT_ONCE]
            np.matmul(flat[first : first + PIXELS_AT_ONCE], coefficients, out=part)
            part += mean
        return decoded.reshape(*scores.shape[:-1], len(mean))


def _split_key(key: Any) -> tuple[tuple[Any, ...], Any]:
    """What a key says of rows and columns, and what it says of bands."""
    parts = list(key) if isinstance(key, tuple) else [key]
    spans = [2 if getattr(part, "dtype", None) == np.bool_ and part.ndim == 2 else 1 for part in parts]
    at = next((index for index, part in enumerate(parts) if part is Ellipsis), None)
    if at is not None:
        missing = 3 - (sum(spans) - 1)
        parts[at : at + 1] = [slice(None)] * missing
        spans[at : at + 1] = [1] * missing
    if sum(spans) > 3:
        raise IndexError(f"too many indices: {sum(spans)} for a cube of 3 axes")
    if sum(spans) == 3 and spans[-1] == 1:
        return tuple(parts[:-1]), parts[-1]
    return tuple(parts), slice(None)
