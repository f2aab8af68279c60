"""Write label maps and confidences in the format that the cube came in, with its place on the ground."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.prediction.cubes import Cube
from orchestrator.prediction.picture import NO_DATA_COLOUR, Colour

GDAL_NODATA = 42113
ENVI_TYPES = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "uint16": 12}
PALETTE_SIZE = 256


def no_data_id(class_ids: Sequence[int]) -> int:
    """The id of pixels without data in label maps: the first of 0, 255, 65535 and -1 that is no class."""
    return next(value for value in (0, 255, 65535, -1, -2) if value not in class_ids)


def label_type(class_ids: Sequence[int], no_data: int) -> np.dtype[Any]:
    """The smallest type that ENVI and TIFF know and that holds all ids."""
    ids = (*class_ids, no_data)
    for name in ("uint8", "uint16", "int16", "int32"):
        if np.iinfo(name).min <= min(ids) and max(ids) <= np.iinfo(name).max:
            return np.dtype(name)
    return np.dtype(np.int64)


def write_labels(
    folder: Path, cube: Cube, labels_HW: NDArray[Any], classes: Mapping[int, tuple[str, Colour]], no_data: int
) -> list[str]:
    """Write the map of original class ids; names of the files.

    Args:
        folder: exists.
        cube: says format and place.
        labels_HW: original class ids and `no_data`.
        classes: name and colour by original class id.
        no_data: id of pixels without data.
    """
    if cube.format == "envi" and labels_HW.dtype.name in ENVI_TYPES:
        fields = {"file type": "ENVI Standard", "data ignore value": str(no_data)}
        if labels_HW.dtype == np.uint8:
            fields |= _envi_classes(classes, no_data)
        return _write_envi(folder, "labels", cube, labels_HW, fields)
    if cube.format == "geotiff":
        options: dict[str, Any] = {"photometric": "minisblack"}
        if labels_HW.dtype == np.uint8:
            colourmap = np.zeros((3, PALETTE_SIZE), dtype=np.uint16)
            colourmap[:, no_data] = np.array(NO_DATA_COLOUR) * 257
            for class_id, (_, colour) in classes.items():
                colourmap[:, class_id] = np.array(colour) * 257
            options = {"photometric": "palette", "colormap": colourmap}
        return _write_tiff(folder, "labels", cube, labels_HW, str(no_data), **options)
    np.save(folder / "labels.npy", labels_HW)
    return ["labels.npy"]


def write_confidence(folder: Path, cube: Cube, confidence_HW: NDArray[np.float32]) -> list[str]:
    """Write the probability of the class in the label map, NaN without data; names of the files."""
    if cube.format == "envi":
        fields = {"file type": "ENVI Standard", "data ignore value": "nan", "band names": "{confidence}"}
        return _write_envi(folder, "confidence", cube, confidence_HW, fields)
    if cube.format == "geotiff":
        return _write_tiff(folder, "confidence", cube, confidence_HW, "nan", photometric="minisblack")
    np.save(folder / "confidence.npy", confidence_HW)
    return ["confidence.npy"]


def _envi_classes(classes: Mapping[int, tuple[str, Colour]], no_data: int) -> dict[str, str]:
    """Fields of a classification: names and colours of all ids from 0 on, whether they are used or not."""
    entries = [classes.get(i, (f"id {i}, not used", (0, 0, 0))) for i in range(max(*classes, no_data) + 1)]
    entries[no_data] = ("no data", NO_DATA_COLOUR)
    # Commas and braces end an entry or the list in an ENVI header.
    names = [name.translate(str.maketrans(",{}", ";()")) for name, _ in entries]
    return {
        "file type": "ENVI Classification",
        "classes": str(len(entries)),
        "class names": "{" + ", ".join(names) + "}",
        "class lookup": "{" + ", ".join(str(part) for _, colour in entries for part in colour) + "}",
        "band names": "{classification}",
    }


def _write_envi(folder: Path, stem: str, cube: Cube, array_HW: NDArray[Any], fields: Mapping[str, str]) -> list[str]:
    height, width = array_HW.shape
    stored = array_HW.astype(array_HW.dtype.newbyteorder("<"))
    stored.tofile(folder / f"{stem}.img")
    header = {
        "samples": width,
        "lines": height,
        "bands": 1,
        "header offset": 0,
        "data type": ENVI_TYPES[array_HW.dtype.name],
        "interleave": "bsq",
        "byte order": 0,
        **fields,
        **cube.place,
    }
    text = "".join(f"{key} = {value}\n" for key, value in header.items())
    (folder / f"{stem}.hdr").write_text(f"ENVI\n{text}", encoding="utf-8")
    return [f"{stem}.img", f"{stem}.hdr"]


def _write_tiff(folder: Path, stem: str, cube: Cube, array_HW: NDArray[Any], nodata: str, **options: Any) -> list[str]:
    import tifffile

    tags = [(code, dtype, count, value, True) for code, (dtype, count, value) in cube.place.items()]
    tags.append((GDAL_NODATA, "s", 0, nodata, True))
    tifffile.imwrite(folder / f"{stem}.tif", array_HW, compression="zlib", metadata=None, extratags=tags, **options)
    return [f"{stem}.tif"]
