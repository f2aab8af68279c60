"""Band statistics and normalisation. Statistics come from spectra alone, never from labels."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets.store import PreparedDataset, PreparedImage
from orchestrator.errors import ConfigError, DataError, unknown

MODES = ("none", "per_band_zscore", "per_band_minmax", "scale")
SCOPES = ("train", "scene")
CHUNK_PIXELS = 65_536
MOST_KNOWN = 8
Visible = Sequence[NDArray[np.bool_]] | None
"""Pixels that count, one map an image; None = all that hold data."""


@dataclass(frozen=True, kw_only=True)
class BandStatistics:
    """Mean, standard deviation (of the population) and range of each band, float64 [C]."""

    mean_C: NDArray[np.float64]
    std_C: NDArray[np.float64]
    minimum_C: NDArray[np.float64]
    maximum_C: NDArray[np.float64]


_known: dict[tuple[int, ...], tuple[tuple[PreparedImage, ...], BandStatistics]] = {}
"""What this process has worked out, by mapped images and by what is visible of them: the runs of a sweep that share a
split share their statistics. The images are held, so that no others can get their identity."""


class Seen(Protocol):
    """What statistics need to know of a task."""

    @property
    def train_visible(self) -> tuple[NDArray[np.bool_], ...]:
        """[H, W] pixels whose spectra may be seen in training, one map an image."""


def band_statistics(prepared: PreparedDataset, task: Seen, scope: str) -> BandStatistics:
    """Statistics over pixels that training may see.

    Args:
        prepared: the data set.
        task: says which pixels are visible in training; its label budget plays no part.
        scope: train (all valid pixels of the training side, labelled or not) or scene (all valid pixels;
            compatibility, flagged).

    Raises:
        ConfigError: unknown scope.
        DataError: there is no such pixel.
    """
    if scope not in SCOPES:
        raise unknown("normalisation_scope", scope, SCOPES)
    visible = task.train_visible if scope == "train" else None
    counts, sums = [], []
    for mask in _masks(prepared, visible):
        counts.append(int(np.count_nonzero(mask)))
        sums.append(zlib.crc32(np.packbits(mask).data))
    if not sum(counts):
        raise DataError(
            f"dataset {prepared.facts.name!r} has no valid pixel in scope {scope!r}; check nodata and split"
        )
    from_images = _from_moments(prepared, counts)
    if from_images is not None:
        return from_images
    key = (id(prepared.images), *sums)
    if key not in _known:
        while len(_known) >= MOST_KNOWN:
            del _known[next(iter(_known))]
        _known[key] = prepared.images, _from_pixels(prepared, visible, sum(counts))
    return _known[key][1]


def _from_pixels(prepared: PreparedDataset, visible: Visible, count: int) -> BandStatistics:
    total = np.zeros(prepared.facts.num_bands)
    minimum, maximum = np.full_like(total, np.inf), np.full_like(total, -np.inf)
    for spectra in _chunks(prepared, visible):
        total += spectra.sum(axis=0)
        minimum, maximum = np.minimum(minimum, spectra.min(axis=0)), np.maximum(maximum, spectra.max(axis=0))
    mean = total / count
    # A second pass: the one-pass formula loses the variance of bands with a large mean.
    squares = np.zeros_like(total)
    for spectra in _chunks(prepared, visible):
        squares += ((spectra - mean) ** 2).sum(axis=0)
    found = BandStatistics(mean_C=mean, std_C=np.sqrt(squares / count), minimum_C=minimum, maximum_C=maximum)
    for array in vars(found).values():
        array.flags.writeable = False  # it is handed to every run of this process
    return found


def _from_moments(prepared: PreparedDataset, counts: Sequence[int]) -> BandStatistics | None:
    """Statistics of whole images from what is known of each; None where an image is used in part, or is not known."""
    chosen = []
    for image, used in zip(prepared.images, counts, strict=True):
        if used and (image.moments is None or used != image.moments.count):
            return None
        if used and image.moments is not None:
            chosen.append(image.moments)
    count = sum(one.count for one in chosen)
    mean = sum((one.mean_C * (one.count / count) for one in chosen), np.zeros(prepared.facts.num_bands))
    squares = sum((one.squares_C + one.count * (one.mean_C - mean) ** 2 for one in chosen), np.zeros_like(mean))
    return BandStatistics(
        mean_C=mean,
        std_C=np.sqrt(squares / count),
        minimum_C=np.min([one.minimum_C for one in chosen], axis=0),
        maximum_C=np.max([one.maximum_C for one in chosen], axis=0),
    )


def _masks(prepared: PreparedDataset, visible: Visible) -> Iterator[NDArray[np.bool_]]:
    """Pixels of each image that count, one image at a time."""
    for index, image in enumerate(prepared.images):
        yield image.valid_HW if visible is None else image.valid_HW & visible[index]


def _chunks(prepared: PreparedDataset, visible: Visible) -> Iterator[NDArray[np.float64]]:
    """Selected spectra [n, C], a limited number at a time so that large cubes stay on disk."""
    for image, mask in zip(prepared.images, _masks(prepared, visible), strict=True):
        rows = max(1, CHUNK_PIXELS // image.valid_HW.shape[1])
        for first in range(0, image.valid_HW.shape[0], rows):
            chosen = image.cube_HWC[first : first + rows][mask[first : first + rows]]
            if chosen.size:
                yield chosen.astype(np.float64)


def normalise(
    cube_HWC: NDArray[Any],
    statistics: BandStatistics | None,
    mode: str,
    scale: float = 1.0,
    valid_HW: NDArray[np.bool_] | None = None,
) -> NDArray[np.float32]:
    """Bring a cube to the numbers that a model sees.

    Args:
        cube_HWC: [H, W, C] in stored numbers.
        statistics: of the training side; may be None with modes none and scale.
        mode: none, per_band_zscore, per_band_minmax (training range to 0..1, not clipped) or scale.
        scale: the data set's stated scale; stored numbers are divided by it in mode scale.
        valid_HW: pixels without data become 0 after normalisation where this is given.

    Returns:
        float32 [H, W, C]. A band that is constant on the training side becomes its offset from that constant.

    Raises:
        ConfigError: unknown mode, or statistics are missing.
    """
    if mode not in MODES:
        raise unknown("normalisation", mode, MODES)
    if mode == "none" and cube_HWC.dtype == np.float32:
        # The same numbers as below in a tenth of the time: nothing is calculated.
        same: NDArray[np.float32] = np.array(cube_HWC, dtype=np.float32)
        if valid_HW is not None:
            same[~valid_HW] = 0
        return same
    offset, divisor = affine(statistics, mode, scale)
    # In float64 and rounded once: raw numbers beyond 2**24 would lose digits before the mean is taken off.
    result: NDArray[np.float32] = ((cube_HWC.astype(np.float64) - offset) / divisor).astype(np.float32)
    if valid_HW is not None:
        result[~valid_HW] = 0
    return result


def affine(statistics: BandStatistics | None, mode: str, scale: float) -> tuple[Any, Any]:
    """Offset and divisor of a normalisation, a number or float64 [C] each; see `normalise`."""
    if mode == "none":
        return 0.0, 1.0
    if mode == "scale":
        if not scale > 0:
            raise ConfigError(f"scale {scale!r} of the data set; allowed: a number above 0; correct its facts")
        return 0.0, scale
    if statistics is None:
        raise ConfigError(f"normalisation {mode!r} needs band statistics; compute them with band_statistics")
    if mode == "per_band_zscore":
        return statistics.mean_C, _nonzero(statistics.std_C)
    return statistics.minimum_C, _nonzero(statistics.maximum_C - statistics.minimum_C)


def _nonzero(divisor_C: NDArray[np.float64]) -> NDArray[np.float64]:
    return np.where(divisor_C > 0, divisor_C, 1.0)
