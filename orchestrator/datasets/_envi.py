"""ENVI cubes: a text header beside raw numbers."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from orchestrator.datasets._formats import ENVI_ENDINGS, ArrayFile
from orchestrator.errors import DataError

TYPES = {
    1: "u1",
    2: "i2",
    3: "i4",
    4: "f4",
    5: "f8",
    12: "u2",
    13: "u4",
    14: "i8",
    15: "u8",
}
"""ENVI's numbers of data types; complex ones are no reflectances and left out."""
DATA_ENDINGS = ("", *(ending for ending in ENVI_ENDINGS if ending != ".hdr"))
UNITS_NM = {"nanometers": 1.0, "nm": 1.0, "micrometers": 1000.0, "um": 1000.0, "µm": 1000.0, "microns": 1000.0}
FIELD = re.compile(r"^\s*([^=;{}\n][^=\n]*?)\s*=\s*(\{.*?\}|[^\n]*)", re.MULTILINE | re.DOTALL)


def read_envi(path: Path) -> ArrayFile:
    """Read an ENVI cube given its header or its data file; [H, W, C], mapped, not loaded.

    Raises:
        DataError: no header or data beside it, a header that lacks a field, or data of another size than it states.
    """
    header_file, data_file = pair_of(path)
    header = parse_header(header_file)
    lines, samples, bands = (_whole(header, key, header_file) for key in ("lines", "samples", "bands"))
    code = _whole(header, "data type", header_file)
    if code not in TYPES:
        raise DataError(
            f"{header_file} states data type {code}; allowed: {', '.join(map(str, TYPES))}; convert the cube"
        )
    swapped = header.get("byte order", "0").strip() == "1"
    dtype = np.dtype(TYPES[code]).newbyteorder(">" if swapped else "<")
    offset = _whole(header, "header offset", header_file) if "header offset" in header else 0
    expected = offset + lines * samples * bands * dtype.itemsize
    found = data_file.stat().st_size
    if found != expected:
        raise DataError(
            f"{data_file} has {found} bytes, its header states {expected} ({lines} lines x {samples} samples x {bands} "
            f"bands x {dtype.itemsize} bytes + {offset}); the file is cut short or the header is another cube's"
        )
    interleave = header.get("interleave", "bsq").strip().lower()
    layouts = {
        "bsq": ((bands, lines, samples), (1, 2, 0)),
        "bil": ((lines, bands, samples), (0, 2, 1)),
        "bip": ((lines, samples, bands), (0, 1, 2)),
    }
    if interleave not in layouts:
        raise DataError(f"{header_file} states interleave {interleave!r}; allowed: bsq, bil, bip")
    shape, order = layouts[interleave]
    array = np.memmap(data_file, dtype=dtype, mode="r", offset=offset, shape=shape).transpose(order)
    unit = UNITS_NM.get(header.get("wavelength units", "nanometers").strip().lower())
    nodata = header.get("data ignore value")
    scale = header.get("reflectance scale factor")
    return ArrayFile(
        array=array,
        axes="HWC",
        wavelengths_nm=_numbers(header, "wavelength", bands, unit, header_file),
        fwhm_nm=_numbers(header, "fwhm", bands, unit, header_file),
        good_bands=_good_bands(header, bands, header_file),
        nodata=float(nodata) if nodata else None,
        scale=float(scale) if scale else None,
        class_names=tuple(_items(header["class names"])) if "class names" in header else None,
    )


def parse_header(path: Path) -> dict[str, str]:
    """Fields of an ENVI header, keys in lower case, lists still in braces.

    Raises:
        DataError: the file does not start with ENVI.
    """
    text = path.read_text(encoding="utf-8", errors="replace")
    if not text.lstrip("\ufeff").startswith("ENVI"):
        raise DataError(f"{path} is no ENVI header: its first word is not ENVI")
    return {match[1].strip().lower(): match[2].strip() for match in FIELD.finditer(text)}


def pair_of(path: Path) -> tuple[Path, Path]:
    """Header and data file of a cube, given either."""
    if path.suffix.lower() == ".hdr":
        stem = path.with_suffix("")
        candidates = [stem.with_name(stem.name + ending) for ending in DATA_ENDINGS]
        data = next((file for file in candidates if file.is_file()), None)
        if data is None:
            raise DataError(f"no data file beside {path}; expected one of {', '.join(c.name for c in candidates)}")
        return path, data
    headers = (path.with_name(path.name + ".hdr"), path.with_suffix(".hdr"))
    header = next((file for file in headers if file.is_file()), None)
    if header is None:
        raise DataError(f"no header beside {path}; expected {headers[0].name} or {headers[1].name}")
    return header, path


def _whole(header: dict[str, str], key: str, path: Path) -> int:
    value = header.get(key)
    if value is None or not value.isdigit():
        raise DataError(f"{path} states {key} = {value!r}; expected a whole number")
    return int(value)


def _items(value: str) -> list[str]:
    return [item.strip() for item in value.strip("{} \n").split(",") if item.strip()]


def _numbers(header: dict[str, str], key: str, bands: int, unit: float | None, path: Path) -> tuple[float, ...] | None:
    """A list of one number a band in nm; None where absent or in a unit (wave number, index) that is no length."""
    if key not in header or unit is None:
        return None
    items = _items(header[key])
    if len(items) != bands:
        raise DataError(f"{path} lists {len(items)} values of {key} for {bands} bands; correct the header")
    return tuple(round(float(item) * unit, 6) for item in items)


def _good_bands(header: dict[str, str], bands: int, path: Path) -> tuple[bool, ...] | None:
    values = _numbers(header, "bbl", bands, 1.0, path)
    return tuple(value != 0 for value in values) if values else None
