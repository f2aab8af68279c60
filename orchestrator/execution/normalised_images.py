"""A prepared data set as a model sees it: normalised pieces, and windows around single pixels.

Cubes stay memory-mapped and are normalised piece by piece; only small data sets that windows are cut from are kept.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets.statistics import BandStatistics, normalise
from orchestrator.datasets.store import PreparedDataset
from orchestrator.execution.windows_of_pixels import window_places

KEPT_BYTES = 2**29
"""A data set up to this size is kept in normalised form where windows are cut from it."""


class NormalisedImages:
    """A data set with the normalisation of one run."""

    def __init__(self, prepared: PreparedDataset, mode: str, statistics: BandStatistics) -> None:
        self.prepared, self.mode, self.statistics = prepared, mode, statistics
        self.scale = prepared.facts.scale
        pixels = sum(image.labels_HW.size for image in prepared.images)
        self._fits = pixels * prepared.facts.num_bands * np.dtype(np.float32).itemsize <= KEPT_BYTES
        """Whether all images may be kept in normalised form."""
        self._whole_images: dict[int, np.ndarray] = {}

    def normalised(self, image: int, rows: slice, columns: slice) -> np.ndarray:
        """A normalised window, float32 `[h, w, C]`; nodata pixels are 0."""
        source = self.prepared.images[image]
        window = normalise(source.cube_HWC[rows, columns], self.statistics, self.mode, self.scale)
        valid = source.valid_HW[rows, columns]
        return window if valid.all() else np.where(valid[..., None], window, np.float32(0))

    def windows(self, image: int, rows_N: np.ndarray, columns_N: np.ndarray, side_px: int) -> np.ndarray:
        """Normalised windows `[n, C, p, p]` around pixels of an image, reflected at its edges; nodata pixels are 0."""
        source = self.prepared.images[image]
        rows, columns = np.broadcast_arrays(*window_places(rows_N, columns_N, side_px, source.labels_HW.shape))
        if self._fits:
            made_NppC = self._whole_image(image)[rows, columns]
        else:  # an image for the sake of a few windows would cost more than the windows themselves
            spectra_1PC = source.cube_HWC[rows.ravel(), columns.ravel()][None]
            made_NppC = normalise(spectra_1PC, self.statistics, self.mode, self.scale)[0].reshape(*rows.shape, -1)
            made_NppC[~source.valid_HW[rows, columns]] = 0
        return np.ascontiguousarray(made_NppC.transpose(0, 3, 1, 2))

    def windows_at(
        self, places_N3: np.ndarray, side_px: int, visible: Sequence[NDArray[np.bool_]] | None = None
    ) -> np.ndarray:
        """Windows `[n, C, p, p]` around places (image, row, column); 0 where a pixel is not `visible`."""
        made = np.empty((len(places_N3), self.prepared.facts.num_bands, side_px, side_px), dtype=np.float32)
        for image in np.unique(places_N3[:, 0]):
            at = places_N3[:, 0] == image
            rows_N, columns_N = places_N3[at, 1], places_N3[at, 2]
            made[at] = self.windows(int(image), rows_N, columns_N, side_px)
            if visible is not None and not visible[image].all():
                seen = visible[image][window_places(rows_N, columns_N, side_px, visible[image].shape)]
                made[at] *= seen[:, None]
        return made

    def _whole_image(self, image: int) -> np.ndarray:
        """A normalised image `[H, W, C]`, kept since windows overlap many times."""
        if image not in self._whole_images:
            self._whole_images[image] = self.normalised(image, slice(None), slice(None))
        return self._whole_images[image]
