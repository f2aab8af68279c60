"""Open a cube to predict: ENVI, GeoTIFF, MATLAB or NumPy. It stays on disk where its format lets it."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._formats import (
    ENVI_ENDINGS,
    MATLAB_ENDINGS,
    TIFF_ENDINGS,
    ArrayFile,
    halves_of,
    read_array,
)
from orchestrator.errors import DataError, SweepError

CubeFormat = Literal["envi", "geotiff", "matlab", "numpy", "array"]
ENDINGS = (*ENVI_ENDINGS, *TIFF_ENDINGS, *MATLAB_ENDINGS, ".npy")
ENVI_PLACE = (
    "map info",
    "projection info",
    "coordinate system string",
    "geo points",
    "pixel size",
    "x start",
    "y start",
)
"""Fields of an ENVI header that say where the pixels lie."""
TIFF_PLACE = (33550, 33922, 34264, 34735, 34736, 34737)
"""Tags of a GeoTIFF that say where the pixels lie: scale, tie points, transformation, and the three of the keys."""
BAND_AXES = {"HWC": 2, "CHW": 0}


@dataclass(frozen=True, kw_only=True)
class Cube:
    """A cube and what its file says about it; None where the file says nothing."""

    name: str
    """Of its results: the file's name without ending."""
    path: str
    format: CubeFormat
    cube_HWC: NDArray[Any]
    """Height, width, bands, in stored numbers; a view of the file where possible."""
    stored_shape: tuple[int, ...]
    band_axis: int
    """Which axis of the stored array holds the bands."""
    wavelengths_nm: tuple[float, ...] | None = None
    wavelength_unit: str = "nm"
    """The unit that the file states."""
    nodata: float | None = None
    scale: float | None = None
    """Stored number divided by this is the physical quantity."""
    place: Mapping[Any, Any] = field(default_factory=dict)
    """What says where the pixels lie, as the format keeps it."""


def open_cube(
    source: str | Path | NDArray[Any],
    bands: tuple[int, ...],
    *,
    variable: str | None = None,
    band_axis: int | None = None,
) -> Cube:
    """Open a cube.

    Args:
        source: a file, or an array.
        bands: band counts that would fit the model, to tell which axis holds the bands.
        variable: name of the array in files that hold several.
        band_axis: 0, 1 or 2: the axis that holds the bands; None = the one with a fitting count.

    Raises:
        DataError: absent, damaged, of another format, no three axes, or no axis with a fitting number of bands.
    """
    path = Path("array" if isinstance(source, np.ndarray) else source).expanduser()
    found, cube_format, place, unit = (
        (ArrayFile(array=source), "array", {}, "nm") if isinstance(source, np.ndarray) else _read(path, variable)
    )
    array = found.array
    where = f"cube {path}"
    if array.ndim != 3 or 0 in array.shape:
        raise DataError(f"{where} has shape {array.shape}; expected three axes: height, width and {_or(bands)} bands")
    if array.dtype.kind not in "iuf" or array.dtype.itemsize > 8:
        raise DataError(f"{where} holds {array.dtype}; allowed: integers or floats of at most 64 bits; convert it")
    axis = _band_axis(where, array.shape, BAND_AXES.get(found.axes or ""), bands, band_axis)
    order = tuple(i for i in range(3) if i != axis)
    return Cube(
        name=path.stem if cube_format != "array" else "array",
        path=str(path),
        format=cube_format,
        cube_HWC=array.transpose(*order, axis),
        stored_shape=tuple(array.shape),
        band_axis=axis,
        wavelengths_nm=found.wavelengths_nm,
        wavelength_unit=unit,
        nodata=found.nodata,
        scale=found.scale,
        place=place,
    )


def _or(counts: tuple[int, ...]) -> str:
    return " or ".join(str(count) for count in dict.fromkeys(counts))


def _band_axis(
    where: str, shape: tuple[int, ...], stated: int | None, bands: tuple[int, ...], asked: int | None
) -> int:
    """Which axis holds the bands: the one asked for, the one that the format fixes, or the only one that fits."""
    fitting = [axis for axis in range(3) if shape[axis] in bands]
    if asked is not None:
        if asked not in fitting:
            advice = f"allowed: --band-axis {_or(tuple(fitting))}" if fitting else "give a cube of the model's sensor"
            raise DataError(
                f"{where} has shape {shape}: axis {asked} has {shape[asked]} entries, the model takes {_or(bands)} "
                f"bands; {advice}"
            )
        return asked
    if stated in fitting:
        return int(stated)
    if stated is not None or not fitting:
        have = f"{shape[stated]} bands" if stated is not None else f"shape {shape}"
        advice = "give a cube of the sensor it was trained on"
        if fitting:
            advice = f"axis {fitting[0]} would fit: --band-axis {fitting[0]}"
        raise DataError(f"{where} has {have}; this model takes {_or(bands)}; {advice}")
    if len(fitting) > 1:
        raise DataError(
            f"{where} has shape {shape}, and {len(fitting)} axes could hold the {_or(bands)} bands; "
            f"allowed: --band-axis {_or(tuple(fitting))}"
        )
    return fitting[0]


def _read(path: Path, variable: str | None) -> tuple[ArrayFile, CubeFormat, dict[Any, Any], str]:
    ending = path.suffix.lower()
    is_envi = ending in ENVI_ENDINGS or path.with_name(path.name + ".hdr").is_file()
    if not is_envi and ending not in ENDINGS:
        raise DataError(f"cube {path} has the ending {ending!r}; allowed: {', '.join(ENDINGS)}; convert the file")
    if not path.is_file():
        raise DataError(f"cube {path} not found; correct the path")
    try:
        if is_envi:
            return _envi(path)
        if ending in TIFF_ENDINGS:
            return _geotiff(path)
        if ending == ".npy":
            array = np.load(path, mmap_mode="r", allow_pickle=False)
            return ArrayFile(array=array), "numpy", {}, "nm"
        return read_array(path, variable=variable or _only_cube(path), dimensions=3), "matlab", {}, "nm"
    except SweepError:
        raise
    # The libraries behind raise anything from struct.error to KeyError on damaged files.
    except Exception as error:
        raise DataError(
            f"cannot read {path} ({path.stat().st_size} bytes): {type(error).__name__}: {error}; "
            "the file is damaged, cut short or of another format; get it again"
        ) from error


def _envi(path: Path) -> tuple[ArrayFile, CubeFormat, dict[Any, Any], str]:
    from orchestrator.datasets._envi import pair_of, parse_header

    header_file, _ = pair_of(path)
    header = parse_header(header_file)
    place = {key: header[key] for key in ENVI_PLACE if key in header}
    return read_array(path), "envi", place, header.get("wavelength units", "nm").strip()


def _geotiff(path: Path) -> tuple[ArrayFile, CubeFormat, dict[Any, Any], str]:
    """The cube mapped where it lies uncompressed in one piece, else decoded into a temporary file that is mapped."""
    import tifffile

    from orchestrator.datasets._geotiff import read_geotiff

    header = read_geotiff(path, values=False)
    with tifffile.TiffFile(path) as file:
        page = file.pages.first
        place = {code: (int(tag.dtype), tag.count, tag.value) for code in TIFF_PLACE if (tag := page.tags.get(code))}
        array = file.series[0].asarray(out="memmap")
        height, width = page.imagelength, page.imagewidth
        is_interleaved = page.planarconfig == tifffile.PLANARCONFIG.CONTIG and page.samplesperpixel > 1
    axes = header.axes
    if array.ndim != 3:  # a height, width or band count of 1 is left out by the reader
        axes = "HWC" if is_interleaved else "CHW"
        array = array.reshape((height, width, -1) if is_interleaved else (-1, height, width))
    return replace(header, array=array, axes=axes), "geotiff", place, "nm"


def _only_cube(path: Path) -> str:
    import h5py

    from orchestrator.datasets._matlab import hdf5_shapes, mat_shapes

    shapes = hdf5_shapes(path) if h5py.is_hdf5(path) else mat_shapes(path)
    cubes = [name for name, shape in shapes.items() if len(shape) == 3]
    if len(cubes) == 1:
        return cubes[0]
    listed = ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "nothing numeric"
    raise DataError(
        f"cube {path} holds {len(cubes)} arrays of three axes (it holds: {listed}); "
        + ("name one with --variable" if cubes else "give a file that holds a cube")
    )


def names_of(cubes: list[Cube]) -> list[str]:
    """A folder name for each cube's results: its file's name, numbered where several are alike.

    A number that makes another file's name is passed over: no two cubes share a folder.
    """
    given = {cube.name for cube in cubes}
    names: list[str] = []
    for cube in cubes:
        numbered = (f"{cube.name}-{number}" for number in itertools.count(2))
        is_first = cube.name not in names
        names.append(cube.name if is_first else next(n for n in numbered if n not in given and n not in names))
    return names


def files_of(cube: Cube) -> tuple[Path, ...]:
    """Files that the cube was read from, or may have been."""
    return () if cube.format == "array" else halves_of(Path(cube.path))
