"""Images of a prepared set as files of their own: a cube that `predict` takes, and a picture in false colours."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import Progress
from orchestrator.datasets.store import PreparedDataset
from orchestrator.errors import DataError

EYE_NM = (640.0, 550.0, 460.0)
"""Red, green and blue, where the bands reach that far."""
ELSE = (0.85, 0.5, 0.15)
"""Otherwise: places in the sorted bands, the longest wavelength as red."""
STRETCH_PERCENT = (2, 98)


def three_bands(num_bands: int, wavelengths_nm: tuple[float, ...] | None) -> tuple[int, int, int]:
    """Bands for red, green and blue, from wavelengths in whatever order the bands come."""
    centres = np.asarray(wavelengths_nm or range(num_bands), dtype=np.float64)
    if wavelengths_nm and centres.min() <= EYE_NM[2] + 15 and centres.max() >= EYE_NM[0] - 15:
        red, green, blue = (int(np.abs(centres - wanted).argmin()) for wanted in EYE_NM)
    else:
        order = np.argsort(centres, kind="stable")
        red, green, blue = (int(order[round(place * (num_bands - 1))]) for place in ELSE)
    return red, green, blue


def false_colour(cube_HWC: Any, bands: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture [H, W, 3]: each band stretched between its 2nd and 98th percentile in this image."""
    shown = np.stack([np.asarray(cube_HWC[:, :, band], dtype=np.float64) for band in bands], axis=2)
    low, high = np.percentile(shown, STRETCH_PERCENT, axis=(0, 1))
    return (np.clip((shown - low) / np.maximum(high - low, 1e-12), 0, 1) * 255).round().astype(np.uint8)


def write_cubes(prepared: PreparedDataset, to: Path, progress: Progress | None = None) -> list[Path]:
    """Write every image as `<name>.npy` (float32 [H, W, C], stored numbers divided by the scale) and `<name>.png`.

    Raises:
        DataError: a file is there already, or cannot be written.
    """
    from PIL import Image

    bands = three_bands(prepared.facts.num_bands, prepared.facts.wavelengths_nm)
    files = []
    try:
        to.mkdir(parents=True, exist_ok=True)
        for index, image in enumerate(prepared.images):
            file = to / f"{image.name}.npy"
            if file.exists():
                raise DataError(f"{file} is there already; nothing is written over: name another folder")
            cube = np.asarray(image.cube_HWC, dtype=np.float32) / np.float32(prepared.facts.scale)
            np.save(file, cube)
            Image.fromarray(false_colour(cube, bands)).save(to / f"{image.name}.png")
            files.append(file)
            if progress:
                progress(f"writing {image.name}", index + 1, len(prepared.images))
    except OSError as error:
        raise DataError(f"cannot write below {to}: {error}; name a writable folder with room") from error
    return files
