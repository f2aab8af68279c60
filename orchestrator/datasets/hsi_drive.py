"""HSI-Drive v2.0: 752 frames of a 25-band near-infrared snapshot camera on a car, as HS3-Bench uses them."""

from __future__ import annotations

from functools import partial
from pathlib import Path

from orchestrator.datasets import _hsi_drive_facts as known
from orchestrator.datasets._base import Definition, FoldPlan, ImageSource, RawImage, Reading, Survey
from orchestrator.datasets._hs3_files import Found, stamp_of, stems, survey_folder
from orchestrator.datasets._hs3_hdf5 import hdf5_files, read_hdf5
from orchestrator.datasets._hs3_marker import SPLITS, Marker
from orchestrator.datasets._hs3_splits import SIDES, read_list, read_lists
from orchestrator.errors import DataError

FACTS, IGNORED_IDS, REMEDY, ARCHIVE = known.FACTS, known.IGNORED_IDS, known.REMEDY, known.ARCHIVE
LIST_FILES = "hsidrive_{side}.csv"
NO_LISTS = f"no {known.LISTS_FOLDER}/hsidrive_train.csv and its like; run: hsfm-sweep data fetch hsi_drive"
SHAPE_CHW = (25, 216, 409)


def survey(definition: Definition, places: tuple[Path, ...]) -> Survey:
    """Whether cubes, labels and split lists, or the HDF5 files of the benchmark's code, are at hand."""
    lists = next((place / known.LISTS_FOLDER for place in places if _has_lists(place / known.LISTS_FOLDER)), None)
    return survey_folder(definition, places, known.FOLDER, partial(_look, definition.facts.name, lists), read)


def _has_lists(folder: Path) -> bool:
    return all((folder / LIST_FILES.format(side=side)).is_file() for side in SIDES)


def _look(dataset: str, lists: Path | None, base: Path, marker: Marker | None) -> Found:
    folder, pattern = (base / SPLITS, "{side}.csv") if marker else (lists, LIST_FILES)
    if folder is None:
        return Found(reason=NO_LISTS)
    reads = {"dataset": dataset, "lists": folder}
    if hdf5_files(base, "hsidrive"):
        return Found(reads=reads)
    wanted = [
        name for side in SIDES if (file := folder / pattern.format(side=side)).is_file() for name in read_list(file)
    ]
    images = _images(base)
    cubes, labels = stems(images / "cubes_fl32", "_TC.mat"), stems(images / "labels", ".png")
    inner = images.relative_to(base).as_posix()
    absent = [f"{inner}/cubes_fl32/{name}_TC.mat" for name in wanted if name not in cubes]
    absent += [f"{inner}/labels/{name}.png" for name in wanted if name not in labels]
    return Found(absent=tuple(absent), reads=reads)


def _images(base: Path) -> Path:
    """The folder Image_dataset, with or without the folder that the archive puts it in."""
    direct = base / "Image_dataset"
    if direct.is_dir():
        return direct
    return next((inner for inner in sorted(base.glob("*/Image_dataset")) if inner.is_dir()), direct)


def read(base: Path, marker: Marker | None = None, dataset: str = "hsi_drive", lists: Path | None = None) -> Reading:
    """752 images [216, 409, 25] float32 with labels 1 to 10, 0 unlabelled, 8 water (ignored).

    Raises:
        DataError: a list that is not the published one, or a cube of another shape.
    """
    fold = _fold(dataset, base, marker, lists)
    files = hdf5_files(base, "hsidrive")
    if files:
        return read_hdf5(dataset, files, lambda _: {dataset: fold})
    images = []
    for name in sorted([*fold.train, *fold.validation, *fold.test]):
        cube = _images(base) / "cubes_fl32" / f"{name}_TC.mat"
        labels = _images(base) / "labels" / f"{name}.png"
        shape = (25, *marker.image_size_px) if marker else SHAPE_CHW
        reader = partial(_read_cube, dataset, cube, labels, shape)
        images.append(ImageSource(name=name, stamp=stamp_of(cube, labels), read=reader))
    return Reading(images=images, folds=(fold,))


def _fold(dataset: str, base: Path, marker: Marker | None, lists: Path | None) -> FoldPlan:
    if marker:
        return read_lists(dataset, base / SPLITS)
    from orchestrator.datasets._checks import sha256_of

    folder = lists or base.parents[1] / known.LISTS_FOLDER
    fold = read_lists(dataset, folder, LIST_FILES)
    for side, expected in known.LISTS.items():
        file = folder / LIST_FILES.format(side=side)
        found = sha256_of(file)
        if found != expected:
            raise DataError(
                f"dataset {dataset}: {file} has SHA-256 {found}, published is {expected}; delete it and run: "
                "hsfm-sweep data fetch hsi_drive"
            )
    return fold


def _read_cube(dataset: str, cube_file: Path, labels_file: Path, shape_CHW: tuple[int, int, int]) -> RawImage:
    """A band-first cube in mosaic order and its label picture."""
    import numpy as np

    from orchestrator.datasets._formats import read_array

    cube = read_array(cube_file, variable="cube").array
    if cube.shape != shape_CHW:
        raise DataError(
            f"dataset {dataset}: {cube_file} holds a cube of shape {cube.shape}, expected {shape_CHW} (bands, height, "
            "width); the file is of another version of HSI-Drive: get version 2.0"
        )
    labels = read_array(labels_file, dimensions=2).array
    name = labels_file.stem
    return RawImage(name=name, cube=cube.transpose(1, 2, 0), labels=labels, valid=np.ones(labels.shape, dtype=bool))
