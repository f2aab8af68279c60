"""From a cube and a model to a label map, confidences, a picture and a record of how they came about."""

from __future__ import annotations

import json
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError
from orchestrator.execution.saved_model import SavedModel
from orchestrator.prediction.checks import Fit, band_counts, check_cube
from orchestrator.prediction.cubes import Cube, files_of, names_of, open_cube
from orchestrator.prediction.models import FoundModel
from orchestrator.prediction.picture import class_colours, draw_picture
from orchestrator.prediction.prediction_record import prediction_record
from orchestrator.prediction.rasters import label_type, no_data_id, write_confidence, write_labels

RECORD = "prediction.json"
ENDINGS = ("img", "hdr", "tif", "npy")
Progress = Callable[[str, int, "int | None"], None]


@dataclass(frozen=True, kw_only=True, eq=False)
class Prediction:
    """What a model says about a cube."""

    labels_HW: NDArray[Any]
    """Original class ids of the data set; `record["no_data"]["id"]` where a pixel holds no data."""
    index_HW: NDArray[np.int16]
    """Class indices 0..K-1, -1 where a pixel holds no data."""
    confidence_HW: NDArray[np.float32] | None
    """Probability of the class, NaN without data; None where the model gives no probabilities."""
    record: dict[str, Any]
    """Plain data: what prediction.json holds."""
    folder: Path | None = None
    """Where the files are, if they were written."""
    files: tuple[Path, ...] = field(default=())


@dataclass(frozen=True, kw_only=True, eq=False)
class Checked:
    """A cube that fits the model."""

    cube: Cube
    fit: Fit
    folder: Path | None


def predict_cube(
    source: str | Path | NDArray[Any],
    model: FoundModel,
    *,
    to: Path | None = None,
    variable: str | None = None,
    band_axis: int | None = None,
    scale: float | None = None,
    ignore_wavelengths: bool = False,
    overwrite: bool = False,
) -> Prediction:
    """Predict one cube; see `predict_cubes`."""
    checked = check_cubes(
        [source],
        model,
        to=to,
        variable=variable,
        band_axis=band_axis,
        scale=scale,
        ignore_wavelengths=ignore_wavelengths,
        overwrite=overwrite,
    )
    return predict_checked(checked[0], model, model.load())


def check_cubes(
    sources: Sequence[str | Path | NDArray[Any]],
    model: FoundModel,
    *,
    to: Path | None = None,
    variable: str | None = None,
    band_axis: int | None = None,
    scale: float | None = None,
    ignore_wavelengths: bool = False,
    overwrite: bool = False,
) -> list[Checked]:
    """Look at every cube, and at the places of the results, before anything is predicted.

    Args:
        sources: files (ENVI, GeoTIFF, MATLAB, .npy) or arrays.
        model: from `find_model`.
        to: folder; each cube gets a folder of its file's name in it. None = nothing is written.
        variable: name of the array in .mat files that hold several.
        band_axis: 0, 1 or 2: the axis of the bands; None = what the format says, or the only axis that fits.
        scale: multiply the cube's numbers by this, where they are in another unit than the data set's.
        ignore_wavelengths: predict though the band centres do not fit.
        overwrite: replace results that are there.

    Raises:
        ConfigError: results are there already, or the folder cannot be written.
        DataError: a cube that cannot be read, or does not fit the model.
    """
    counts = band_counts(model.facts)
    cubes = [open_cube(source, counts, variable=variable, band_axis=band_axis) for source in sources]
    folders = [None if to is None else Path(to).expanduser().absolute() / name for name in names_of(cubes)]
    fits = [check_cube(cube, model.facts, scale=scale, ignore_wavelengths=ignore_wavelengths) for cube in cubes]
    for cube, folder in zip(cubes, folders, strict=True):
        if folder is not None:
            _check_place(folder, cube, overwrite)
    return [Checked(cube=c, fit=f, folder=folder) for c, f, folder in zip(cubes, fits, folders, strict=True)]


def _check_place(folder: Path, cube: Cube, overwrite: bool) -> None:
    if not overwrite and folder.is_dir() and any(folder.iterdir()):
        raise ConfigError(f"{folder} holds results already; allowed: --overwrite, or another folder with --to")
    if folder.exists() and any(file.parent.resolve() == folder.resolve() for file in files_of(cube)):
        raise ConfigError(f"{folder} holds the cube itself; name another folder with --to")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise ConfigError(f"folder {folder} cannot be written ({error.strerror}); choose another with --to") from error


def predict_checked(
    checked: Checked, model: FoundModel, saved: SavedModel, progress: Progress | None = None
) -> Prediction:
    """Predict a cube that was checked, and write its files where it has a folder for them.

    Args:
        checked: from `check_cubes`.
        model: from `find_model`.
        saved: the same, loaded.
        progress: told of rows that are done.
    """
    started = time.perf_counter()
    cube, fit = checked.cube, checked.fit
    height, width, _ = cube.cube_HWC.shape
    index_HW = np.full((height, width), -1, dtype=np.int16)
    confidence_HW = np.full((height, width), np.nan, dtype=np.float32) if saved.has_confidence else None
    valid_HW = np.ones((height, width), dtype=bool)

    def read(rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        window, valid = fit.read(cube, rows, columns)
        if valid is not None:
            valid_HW[rows, columns] = valid
        return window, valid

    for rows, strip, confidence in saved.predict_strips(read, height, width):
        valid = valid_HW[rows] & (strip >= 0)
        index_HW[rows][valid] = strip[valid]
        if confidence_HW is not None and confidence is not None:
            confidence_HW[rows][valid] = confidence[valid]
        if progress:
            progress(f"predicting {cube.path}", rows.stop, height)
    if not (index_HW >= 0).any():
        fit.note("nodata", "warning", "no pixel holds data: nothing could be predicted")
    ids = np.array([*model.facts["class_ids"], no_data_id(model.facts["class_ids"])])
    labels_HW = ids.astype(label_type(model.facts["class_ids"], int(ids[-1])))[index_HW]
    record = prediction_record(cube, fit, model, saved, index_HW, int(ids[-1]), time.perf_counter() - started)
    files: tuple[Path, ...] = ()
    if checked.folder is not None:
        files = _write(checked.folder, checked.cube, labels_HW, index_HW, confidence_HW, record)
    return Prediction(
        labels_HW=labels_HW,
        index_HW=index_HW,
        confidence_HW=confidence_HW,
        record=record,
        folder=checked.folder,
        files=files,
    )


def _write(
    folder: Path,
    cube: Cube,
    labels_HW: NDArray[Any],
    index_HW: NDArray[np.int16],
    confidence_HW: NDArray[np.float32] | None,
    record: dict[str, Any],
) -> tuple[Path, ...]:
    """Write beside and rename, the record last: where it is, the other files are whole."""
    colours = class_colours(len(record["classes"]), [one["colour"] for one in record["classes"]])
    classes = {one["id"]: (one["name"], colours[one["index"]]) for one in record["classes"]}
    with tempfile.TemporaryDirectory(dir=folder, prefix=".writing-") as scratch:
        made = Path(scratch)
        names = write_labels(made, cube, labels_HW, classes, record["no_data"]["id"])
        if confidence_HW is not None:
            names += write_confidence(made, cube, confidence_HW)
        shares = [one["share"] for one in record["classes"]]
        without = record["no_data"]["pixels"] / index_HW.size
        class_names = [one["name"] for one in record["classes"]]
        draw_picture(made / "picture.png", index_HW, class_names, shares, without, colours)
        names += ["picture.png", RECORD]
        record["files"] = [str(folder / name) for name in names]
        (made / RECORD).write_text(json.dumps(record, indent=1, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        # Older results of another format would stay beside the new ones otherwise.
        for stale in (RECORD, *(f"{part}.{end}" for part in ("labels", "confidence") for end in ENDINGS)):
            (folder / stale).unlink(missing_ok=True)
        for name in names:
            os.replace(made / name, folder / name)
    return tuple(folder / name for name in names)
