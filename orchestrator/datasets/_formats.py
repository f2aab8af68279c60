"""Reads cubes and label images of the usual formats into arrays, with what their headers say.

One entry point for every format, so that a damaged file is one kind of error that names the file.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import DataError, SweepError

Axes = Literal["HWC", "CHW", "CWH"]
ENVI_ENDINGS = (".hdr", ".raw", ".img", ".dat", ".bsq", ".bil", ".bip")
MATLAB_ENDINGS = (".mat", ".h5", ".hdf5", ".hdf")
TIFF_ENDINGS = (".tif", ".tiff")
PICTURE_ENDINGS = (".png", ".bmp", ".gif")
ENDINGS = (*ENVI_ENDINGS, *MATLAB_ENDINGS, ".npy", *TIFF_ENDINGS, *PICTURE_ENDINGS)


@dataclass(frozen=True, kw_only=True)
class ArrayFile:
    """An array and what its file says about it; None where the file says nothing."""

    array: NDArray[Any]
    axes: Axes | None = None
    """Order of the axes of a three-dimensional array, where the format fixes it."""
    wavelengths_nm: tuple[float, ...] | None = None
    fwhm_nm: tuple[float, ...] | None = None
    good_bands: tuple[bool, ...] | None = None
    """False for bands that the file marks as bad (bbl)."""
    nodata: float | None = None
    scale: float | None = None
    """Stored number divided by this is the physical quantity."""
    class_names: tuple[str, ...] | None = None
    """Names of the ids 0, 1, 2 ..."""
    variable: str | None = None
    """Name of the array inside its file."""


def read_array(path: Path, *, variable: str | None = None, dimensions: int | None = None) -> ArrayFile:
    """Read the array of a file.

    Args:
        path: the file; of an ENVI pair either the header or the data.
        variable: its name, in formats that hold several (.mat, HDF5).
        dimensions: 2 for labels, 3 for cubes; picks the variable where no name is given.

    Raises:
        DataError: absent, damaged, cut short, of an unknown format, or with several arrays to choose from.
    """
    if not path.is_file():
        raise DataError(f"file {path} not found; correct the path, or put the file there")
    reader = _reader(path)
    try:
        found = reader(path, variable, dimensions)
    except SweepError:
        raise
    # The libraries behind raise anything from struct.error to KeyError on damaged files.
    except Exception as error:
        raise DataError(
            f"cannot read {path} ({path.stat().st_size} bytes): {type(error).__name__}: {error}; "
            "the file is damaged, cut short or of another format; get it again"
        ) from error
    if dimensions == 2 and found.array.ndim == 3 and 1 in (found.array.shape[0], found.array.shape[2]):
        found = ArrayFile(**{**vars(found), "array": found.array.squeeze(axis=0 if found.array.shape[0] == 1 else 2)})
    if dimensions is not None and found.array.ndim != dimensions:
        raise DataError(
            f"{path} holds an array of shape {found.array.shape}; expected {dimensions} dimensions; "
            "name another file or variable"
        )
    return found


def _reader(path: Path) -> Callable[[Path, str | None, int | None], ArrayFile]:
    ending = path.suffix.lower()
    if ending in ENVI_ENDINGS or path.with_name(path.name + ".hdr").is_file():
        from orchestrator.datasets._envi import read_envi

        return lambda file, _variable, _dimensions: read_envi(file)
    if ending in MATLAB_ENDINGS:
        from orchestrator.datasets._matlab import read_variable

        return read_variable
    if ending == ".npy":
        return lambda file, _variable, _dimensions: ArrayFile(array=np.load(file, allow_pickle=False))
    if ending in TIFF_ENDINGS:
        from orchestrator.datasets._geotiff import read_geotiff

        return lambda file, _variable, _dimensions: read_geotiff(file)
    if ending in PICTURE_ENDINGS:
        return lambda file, _variable, _dimensions: ArrayFile(array=read_picture(file))
    raise DataError(f"{path} has the ending {ending!r}; allowed: {', '.join(ENDINGS)}; convert the file")


def halves_of(path: Path) -> tuple[Path, ...]:
    """The file itself and, of an ENVI pair, the names that its other half may have; they need not exist."""
    if path.suffix.lower() not in ENVI_ENDINGS:
        return (path,)
    bare = path.with_suffix("")
    names = (path, bare, *(bare.with_name(bare.name + ending) for ending in ENVI_ENDINGS), Path(f"{path}.hdr"))
    return tuple(dict.fromkeys(names))


def read_picture(path: Path) -> NDArray[Any]:
    """[H, W] or [H, W, layers] of a picture; of a palette picture the indices, not the colours.

    Equal layers are taken as one: label pictures are often saved as grey RGB.
    """
    from PIL import Image

    with Image.open(path) as picture:
        pixels = np.asarray(picture)
    if pixels.ndim == 3 and (pixels[:, :, :1] == pixels[:, :, :3]).all():
        return pixels[:, :, 0]
    return pixels


def to_HWC(found: ArrayFile, bands: int, size: tuple[int, int] | None, axes: Axes | None, where: str) -> NDArray[Any]:
    """The cube as [H, W, C].

    Args:
        found: what the file holds.
        bands: bands in the file.
        size: height and width of its label image, where there is one.
        axes: order that the user states; goes before what the format says.
        where: names the file in errors.

    Raises:
        DataError: no order, or more than one, fits the band count and the size.
    """
    orders: dict[Axes, tuple[int, int, int]] = {"HWC": (0, 1, 2), "CHW": (1, 2, 0), "CWH": (2, 1, 0)}
    stated = axes or found.axes
    candidates = [stated] if stated else list(orders)
    shapes = {name: found.array.transpose(orders[name]).shape for name in candidates}
    fitting = [name for name in candidates if shapes[name][2] == bands and size in (None, shapes[name][:2])]
    # A square cube fits CHW and CWH alike. The first is the common one, but a guess could mirror the image.
    if len(fitting) == 1:
        return found.array.transpose(orders[fitting[0]])
    wanted = f"{bands} bands" + (f" and labels of {size[0]} x {size[1]} px" if size else "")
    if not fitting:
        raise DataError(
            f"{where} holds an array of shape {found.array.shape}; no order of its axes fits {wanted}"
            f"{f' with axes {stated}' if stated else ''}; correct bands, axes or the label image"
        )
    raise DataError(
        f"{where} holds an array of shape {found.array.shape}; {wanted} fit several orders of its axes; "
        f"state axes: {' or '.join(fitting)}"
    )
