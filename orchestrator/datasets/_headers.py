"""Shapes and band metadata of the arrays in a file, from its header alone."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from orchestrator.datasets._formats import (
    ENVI_ENDINGS,
    MATLAB_ENDINGS,
    PICTURE_ENDINGS,
    TIFF_ENDINGS,
    ArrayFile,
    Axes,
    read_array,
)

FEWEST_BANDS = 5
"""Below this an array of three dimensions is a colour picture, not a cube."""


@dataclass(frozen=True, kw_only=True)
class Header:
    """One array of a file."""

    path: str
    """Relative to the folder."""
    shape: tuple[int, ...]
    variable: str | None = None
    axes: Axes | None = None
    wavelengths_nm: tuple[float, ...] | None = None
    fwhm_nm: tuple[float, ...] | None = None
    good_bands: tuple[bool, ...] | None = None
    nodata: float | None = None
    scale: float | None = None

    @property
    def is_cube(self) -> bool:
        return len(self.shape) == 3 and min(self.shape) >= FEWEST_BANDS

    @property
    def is_flat(self) -> bool:
        """Whether it can be a label image."""
        return len(self.shape) == 2 and min(self.shape) > 1


def headers_of(folder: Path, file: Path) -> list[Header]:
    """Arrays of a file; none where its ending is not known, or it is the data half of an ENVI pair.

    Raises:
        DataError, OSError, ValueError: the file is damaged.
    """
    path, ending = file.relative_to(folder).as_posix(), file.suffix.lower()
    if ending == ".hdr":
        return [_header(path, read_array(file))]
    if ending in ENVI_ENDINGS:
        # The data of an ENVI pair are listed by their header.
        return []
    if ending in MATLAB_ENDINGS:
        return _matlab(file, path)
    if ending == ".npy":
        return [Header(path=path, shape=np.load(file, mmap_mode="r", allow_pickle=False).shape)]
    if ending in TIFF_ENDINGS:
        from orchestrator.datasets._geotiff import read_geotiff

        return [_header(path, read_geotiff(file, values=False))]
    if ending in PICTURE_ENDINGS:
        return _picture(file, path)
    return []


def _header(path: str, found: ArrayFile) -> Header:
    shape = found.array.shape
    # One band only: a label image or a grey picture.
    if len(shape) == 3 and 1 in (shape[0], shape[2]):
        shape = shape[1:] if shape[0] == 1 else shape[:2]
    return Header(
        path=path,
        shape=shape,
        axes=found.axes if len(shape) == 3 else None,
        wavelengths_nm=found.wavelengths_nm,
        fwhm_nm=found.fwhm_nm,
        good_bands=found.good_bands,
        nodata=found.nodata,
        scale=found.scale,
    )


def _matlab(file: Path, path: str) -> list[Header]:
    import h5py

    from orchestrator.datasets._matlab import hdf5_shapes, mat_shapes

    shapes = hdf5_shapes(file) if h5py.is_hdf5(file) else mat_shapes(file)
    several = len(shapes) > 1
    return [Header(path=path, shape=shape, variable=name if several else None) for name, shape in shapes.items()]


def _picture(file: Path, path: str) -> list[Header]:
    from PIL import Image

    with Image.open(file) as picture:
        width, height = picture.size
    return [Header(path=path, shape=(height, width))]
