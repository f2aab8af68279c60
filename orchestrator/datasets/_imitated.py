"""What generated files hold: names like the real ones, regions of classes, and a spectrum a class."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._hsd import HEADER

REGIONS = 24
"""Regions of one class each in an image."""
IGNORED_SHARE = 0.2
NOISE = 0.04
"""Standard deviation of the noise, of the level."""


def hyko2_names(count: int, generator: np.random.Generator) -> list[str]:
    """Frame numbers about 40 apart, as of a film of which every 40th frame was annotated."""
    steps = 40 + np.floor(generator.random(count) * 120).astype(int)
    return [f"set-_{number:05d}_spec_annotated" for number in np.cumsum(steps)]


def hsi_drive_names(count: int, generator: np.random.Generator) -> list[str]:
    """Condition code (season, weather, time of day, scene) and running number."""
    names = []
    for number in range(1, count + 1):
        code = "".join(str(1 + int(generator.random() * choices)) for choices in (4, 4, 3, 3))
        names.append(f"nf{code}_{number:03d}")
    return names


def hcv2_names(count: int, generator: np.random.Generator) -> list[str]:
    """Date, time and running number."""
    seconds = np.cumsum(2 + np.floor(generator.random(count) * 20).astype(int)) + 14 * 3600
    return [f"20210409_{s // 3600:02d}{s // 60 % 60:02d}{s % 60:02d}_{i % 4:02d}" for i, s in enumerate(seconds)]


class Scene:
    """Draws images: regions of classes, lit unevenly, with noise."""

    def __init__(
        self,
        wavelengths_nm: Sequence[float],
        class_ids: Sequence[int],
        ignored_ids: Sequence[int],
        generator: np.random.Generator,
        level: float = 0.4,
        offset: float = 0.0,
    ) -> None:
        self.class_ids = np.array(class_ids)
        self.ignored_id = int(ignored_ids[0])
        self.generator = generator
        self.level = level
        self.offset = offset
        self.spectra_KC = self._spectra(np.asarray(wavelengths_nm, dtype=np.float64))

    def _spectra(self, wavelengths_nm: NDArray[np.float64]) -> NDArray[np.float64]:
        """A smooth curve a class: two broad bumps over a base, by wavelength and so in whatever order bands come."""
        low, high = wavelengths_nm.min(), wavelengths_nm.max()
        place = (wavelengths_nm - low) / max(high - low, 1.0)
        curves = []
        for _ in self.class_ids:
            base, *centres = self.generator.random(3)
            heights = self.generator.random(2)
            bumps = [h * np.exp(-(((place - c) / 0.2) ** 2)) for h, c in zip(heights, centres, strict=True)]
            curves.append(self.offset + self.level * (0.3 + 0.7 * base + sum(bumps)))
        return np.array(curves)

    def regions(self, size: tuple[int, int]) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
        """Index of the class of each pixel, and its label: a share of the regions' pixels has none."""
        height, width = size
        seeds = self.generator.random((REGIONS, 2)) * [height, width]
        rows, columns = np.mgrid[0:height, 0:width]
        nearest = np.full(size, np.inf)
        region = np.zeros(size, dtype=np.int64)
        for index, (row, column) in enumerate(seeds):
            distance = (rows - row) ** 2 + (columns - column) ** 2
            closer = distance < nearest
            nearest[closer], region[closer] = distance[closer], index
        # Every class in every image, as far as there are regions enough, so that no split lacks one by chance.
        kinds = np.resize(np.argsort(self.generator.random(len(self.class_ids))), REGIONS)
        classes = kinds[region]
        labels = self.class_ids[classes].astype(np.uint8)
        unlabelled = self.generator.random((height // 4 + 1, width // 4 + 1)) < IGNORED_SHARE
        labels[np.kron(unlabelled, np.ones((4, 4), dtype=bool))[:height, :width]] = self.ignored_id
        return classes, labels

    def _light(self, size: tuple[int, int]) -> NDArray[np.float64]:
        slope = 0.3 * (self.generator.random(2) - 0.5)
        rows, columns = np.mgrid[0 : size[0], 0 : size[1]]
        return 1 + slope[0] * rows / size[0] + slope[1] * columns / size[1]

    def draw(self, size: tuple[int, int]) -> tuple[NDArray[Any], NDArray[np.uint8]]:
        """A cube [H, W, C] and its labels."""
        classes, labels = self.regions(size)
        cube = self.spectra_KC[classes].astype(np.float32) * self._light(size)[:, :, None].astype(np.float32)
        cube += self.generator.standard_normal(cube.shape, dtype=np.float32) * np.float32(self.level * NOISE)
        return cube, labels

    def draw_scores(
        self, size: tuple[int, int], rank: int
    ) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any], NDArray[np.uint8]]:
        """Mean [C], coefficients [D, C], scores [H, W, D] and labels; decoded values can be negative."""
        classes, labels = self.regions(size)
        mean = self.spectra_KC.mean(axis=0)
        directions = np.linalg.svd(self.spectra_KC - mean, full_matrices=True)[2][:rank]
        of_class = (self.spectra_KC - mean) @ directions.T
        scores = of_class[classes] * self._light(size)[:, :, None]
        scores += self.generator.standard_normal(scores.shape) * self.level * NOISE * 4
        return mean, directions, scores, labels


def write_hsd(
    file: Path,
    mean_C: NDArray[Any],
    coefficients_DC: NDArray[Any],
    scores_HWD: NDArray[Any],
    start_nm: int,
    step_nm: float,
) -> None:
    """Write an `.hsd` file: header, mean, coefficients, scores, little endian."""
    height, width, rank = scores_HWD.shape
    bands = len(mean_C)
    end_nm = int(start_nm + step_nm * (bands - 1))
    with file.open("wb") as handle:
        handle.write(HEADER.pack(height, width, bands, rank, start_nm, step_nm, end_nm))
        for part in (mean_C, coefficients_DC, scores_HWD):
            handle.write(np.ascontiguousarray(part, dtype="<f4").tobytes())


def write_png(file: Path, labels_HW: NDArray[np.uint8]) -> None:
    """Write class ids as an 8-bit grey picture."""
    from PIL import Image

    Image.fromarray(labels_HW).save(file)
