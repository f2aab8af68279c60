"""GeoTIFF cubes with the band metadata that GDAL writes into them."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np

from orchestrator.datasets._formats import ArrayFile, Axes

GDAL_METADATA, GDAL_NODATA = 42112, 42113
UNITS_NM = {"nanometers": 1.0, "nanometer": 1.0, "nm": 1.0, "micrometers": 1000.0, "micrometer": 1000.0, "um": 1000.0}


def read_geotiff(path: Path, *, values: bool = True) -> ArrayFile:
    """Read a TIFF; a cube's axes come from the file, its band centres, widths and bad bands from GDAL's metadata.

    With `values` False the array has its shape, and zeros that take no room.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array = series.asarray() if values else np.broadcast_to(np.zeros((), series.dtype), series.shape)
        names = series.axes
        tags = file.pages.first.tags
        metadata, nodata = (tag.value if (tag := tags.get(code)) else None for code in (GDAL_METADATA, GDAL_NODATA))
    bands: list[dict[str, str]] = _band_items(metadata) if metadata is not None else []
    axes: Axes | None = None
    if array.ndim == 3:
        axes = {"S": "CHW", "Y": "HWC"}.get(names[0], "CHW")  # type: ignore[assignment]
        count = array.shape[2 if axes == "HWC" else 0]
        bands = bands if len(bands) == count else []
    good = _column(bands, "bbl")
    scale = _column(bands, "SCALE")
    return ArrayFile(
        array=array,
        axes=axes,
        wavelengths_nm=_lengths(bands, "wavelength"),
        fwhm_nm=_lengths(bands, "fwhm"),
        good_bands=tuple(value != 0 for value in good) if good else None,
        nodata=float(str(nodata).strip("\x00 ")) if nodata is not None else None,
        scale=round(1 / scale[0], 6) if scale and scale[0] not in (0, 1) and len(set(scale)) == 1 else None,
    )


def _band_items(text: str) -> list[dict[str, str]]:
    """Items of each band, in band order."""
    bands: dict[int, dict[str, str]] = {}
    for item in ElementTree.fromstring(text).iter("Item"):
        sample = item.get("sample")
        if sample is not None:
            bands.setdefault(int(sample), {})[item.get("name", "")] = item.text or ""
    return [bands[index] for index in sorted(bands)]


def _column(bands: list[dict[str, Any]], key: str) -> tuple[float, ...] | None:
    if not bands or not all(key in band for band in bands):
        return None
    return tuple(float(band[key]) for band in bands)


def _lengths(bands: list[dict[str, str]], key: str) -> tuple[float, ...] | None:
    values = _column(bands, key)
    units = {band.get("wavelength_units", "nanometers").strip().lower() for band in bands}
    if values is None or len(units) != 1 or not units <= set(UNITS_NM):
        return None
    return tuple(round(value * UNITS_NM[next(iter(units))], 6) for value in values)
