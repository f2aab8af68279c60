"""HyKo2-VIS: 162 annotated frames of a 15-band snapshot camera on a car, as HS3-Bench uses them."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from orchestrator.datasets._base import Archive, Definition, FoldPlan, ImageSource, RawImage, Reading, Survey
from orchestrator.datasets._hs3_colours import street_colours
from orchestrator.datasets._hs3_files import Found, stamp_of, stems, survey_folder
from orchestrator.datasets._hs3_hdf5 import hdf5_files, read_hdf5
from orchestrator.datasets._hs3_marker import SPLITS, Marker
from orchestrator.datasets._hs3_splits import SIDES, check_hash, hyko2_fold, list_hash, read_lists
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts

FOLDER = "proximal/hyko2"
ADDRESS = "https://hyko-proxy.uni-koblenz.de/hyko-dataset/HyKo2/vis/vis_annotated.zip"
LABELS_KEY = "label_Semantic Classes for Urban Scenes"
FRAMES, LABELLED = 163, 162
HASHES = {"train": "a9260fb435a6bf21", "val": "fe566081f30cc643", "test": "ed939c3884e3fa3e"}
"""Of the published lists."""

ACCESS = (
    f"Get {ADDRESS} (no registration; reported to be down since April 2025, the authors of HS3-Bench then offered the "
    f"files on the drive folder that their README names) and put its .mat files into {FOLDER} below the data root."
)

FACTS = DatasetFacts(
    name="hyko2",
    title="HyKo2-VIS, 15-band snapshot camera on a car, 10 classes of street scenes (HS3-Bench)",
    num_bands=15,
    wavelengths_nm=(
        *(468.197, 478.339, 490.834, 503.564, 514.111, 526.922, 541.798, 555.124, 569.296, 578.544, 592.706),
        *(600.251, 611.570, 622.492, 642.547),
    ),
    wavelengths_provenance=(
        "Ascending band centres that two readers of the data set agree on (wave_hyko2.csv of cross-domain-hsi; "
        "HyperVision); the files hold a list of their own, which is not compared."
    ),
    # The values look like 0 to 1, but no source says what they are.
    quantity="raw",
    class_names=(
        *("road", "sidewalk", "lane markers", "grass", "vegetation", "panels, signs and traffic lights"),
        *("building", "vehicle", "person", "sky"),
    ),
    class_ids=(1, 2, 3, 4, 5, 6, 7, 8, 9, 10),
    class_colours=street_colours(
        *("road", "sidewalk", "marking", "grass", "vegetation", "sign", "building", "vehicle", "person", "sky")
    ),
    domain="proximal",
    sensor="IMEC snapshot mosaic camera, visible (HyKo2-VIS)",
    region="streets of Koblenz, Germany",
    task="images",
    image_size_px=(254, 510),
    num_images=LABELLED,
    train_images=81,
    split="images",
    citation=(
        "Winkens, Sattler, Adams and Paulus, HyKo: A Spectral Dataset for Scene Understanding, ICCV Workshops 2017; "
        "protocol: HS3-Bench, arXiv 2409.11205"
    ),
    licence="not stated; ask the authors before you redistribute anything",
    notes=(
        ACCESS,
        "The image size follows from the published size of the HDF5 files, not from a primary source.",
        "Not yet validated on the real files.",
    ),
)

IGNORED_IDS = (0,)
REMEDY = f"hsfm-sweep data fetch hyko2, or by hand: {ACCESS}"
ARCHIVE = Archive(url=ADDRESS, folder=FOLDER, if_it_fails=ACCESS)


def survey(definition: Definition, places: tuple[Path, ...]) -> Survey:
    """Whether the .mat files, or the HDF5 files of the benchmark's code, are at hand."""
    return survey_folder(definition, places, FOLDER, _look, read)


def _look(base: Path, marker: Marker | None) -> Found:
    if hdf5_files(base, "hyko2"):
        return Found()
    wanted = marker.images if marker else LABELLED
    found = len(stems(_cubes(base), ".mat"))
    if found >= wanted:
        return Found()
    if not found:
        return Found(absent=("set-_NNNNN_spec_annotated.mat",))
    return Found(reason=f"{found} .mat files, the benchmark has {wanted}; get the archive again")


def _cubes(base: Path) -> Path:
    """The archive's content, with or without the folder that it is in."""
    inner = base / "vis_annotated"
    return inner if inner.is_dir() else base


def read(base: Path, marker: Marker | None = None) -> Reading:
    """162 images [254, 510, 15] with labels 1 to 10, 0 undefined.

    A cube without the semantic labels is left out and told: the archive has one.

    Raises:
        DataError: another number of labelled cubes, or a split that is not the published one.
    """
    files = hdf5_files(base, "hyko2")
    if files:
        return read_hdf5("hyko2", files, partial(_known, base, marker))
    from scipy.io import whosmat

    images, without = [], []
    for stem in sorted(stems(_cubes(base), ".mat")):
        file = _cubes(base) / f"{stem}.mat"
        if LABELS_KEY in {name for name, _, _ in whosmat(file)}:
            images.append(ImageSource(name=stem, stamp=stamp_of(file), read=partial(_read_cube, file)))
        else:
            without.append(stem)
    notes = [
        f"{len(without)} cube{'s' if len(without) > 1 else ''} without {LABELS_KEY!r} left out: {', '.join(without)}"
    ]
    fold = _fold(base, marker, [image.name for image in images])
    return Reading(images=images, folds=(fold,), notes=tuple(notes if without else ()))


def _read_cube(file: Path) -> RawImage:
    import numpy as np
    from scipy.io import loadmat

    found = loadmat(file, variable_names=["data", LABELS_KEY])
    if "data" not in found:
        raise DataError(f"dataset hyko2: {file} holds no array 'data'; the file is not of HyKo2: get it again")
    cube = found["data"]
    return RawImage(name=file.stem, cube=cube, labels=found[LABELS_KEY], valid=np.ones(cube.shape[:2], dtype=bool))


def _fold(base: Path, marker: Marker | None, names: list[str]) -> FoldPlan:
    if marker:
        return read_lists("hyko2", base / SPLITS)
    if len(names) != LABELLED:
        raise DataError(
            f"dataset hyko2: {len(names)} cubes with semantic labels below {base}, the benchmark has {LABELLED} "
            f"(of {FRAMES} files); get the archive again"
        )
    fold = hyko2_fold(names)
    for side, members in zip(SIDES, (fold.train, fold.validation, fold.test), strict=True):
        check_hash("hyko2", side, list_hash(members, ending=".mat"), HASHES[side])
    return fold


def _known(base: Path, marker: Marker | None, names: Mapping[str, tuple[str, ...]]) -> dict[str, FoldPlan]:
    return {"hyko2": _fold(base, marker, [name for side in names.values() for name in side])}
