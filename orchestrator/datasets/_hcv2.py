"""HyperspectralCity v2 behind its two names: same files and test, another validation split."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

from orchestrator.datasets._base import Definition, FoldPlan, ImageSource, RawImage, Reading, Survey
from orchestrator.datasets._hs3_colours import CITYSCAPES
from orchestrator.datasets._hs3_files import Found, stamp_of, stems, survey_folder
from orchestrator.datasets._hs3_hdf5 import hdf5_files, read_hdf5
from orchestrator.datasets._hs3_marker import SPLITS, Marker
from orchestrator.datasets._hs3_splits import (
    HCV2_OLD_TRAIN,
    HCV2_VALIDATION,
    check_hash,
    hcv2_fold,
    list_hash,
    permutation,
    read_lists,
)
from orchestrator.datasets._hsd import halved, read_header, read_hsd
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts

FOLDER = "proximal/hcv2"
ADDRESSES = "https://isis-data.science.uva.nl/cv/HyperspectralCityV2.0/"
OFFICIAL = {"train": 1054, "test": 276}
PROTOCOLS = {"hcv2": "2026", "hcv2_2024": "2024"}
HASHES_2026 = {"train": "895b1d081b6354f4", "val": "04cc483f3e63b3fc", "test": "14a3255735c12206"}
HASHES_OLD = ("89b7291aeab8a17d", "04cc483f3e63b3fc", "98d2a26efc79fe76")
"""Of the lists shipped in 2024: three parts of the permuted official train; they fix the permutation."""

ACCESS = (
    f"Get train/V2_train_image.rar, train/V2_fixed_train_label.zip, test/V2_test_image.rar and "
    f"test/V2_fixed_test_label.zip below {ADDRESSES} (337 GB with what is unpacked). The .rar archives are not "
    f"unpacked for you: `unrar x V2_train_image.rar` or `7z x V2_train_image.rar` do it. Put the .hsd "
    f"files into {FOLDER}/train and {FOLDER}/test below the data root, the rgb*_gray.png beside them or into gt/."
)

FACTS = DatasetFacts(
    name="hcv2",
    title="HyperspectralCity v2, 128 bands from a car at half resolution, 19 classes (HS3-Bench, split of 2026)",
    num_bands=128,
    wavelengths_nm=tuple(449.0 + 4 * band for band in range(128)),
    wavelengths_provenance=(
        "449 to 957 nm in steps of 4 nm, as the code of the 2026 paper assumes; where the .hsd files are at hand, "
        "start and step come from their headers instead."
    ),
    # Values from -1.43 to 2.74 after decoding: no source says what they are.
    quantity="raw",
    class_names=(
        *("road", "sidewalk", "building", "wall", "fence", "pole", "traffic light", "traffic sign", "vegetation"),
        *("terrain", "sky", "person", "rider", "car", "truck", "bus", "train", "motorcycle", "bicycle"),
    ),
    class_ids=tuple(range(19)),
    class_colours=CITYSCAPES,
    domain="proximal",
    sensor="LightGene hyperspectral camera, 450 to 950 nm (HyperspectralCity v2)",
    region="streets of Shanghai, China",
    task="images",
    image_size_px=(711, 944),
    num_images=1330,
    train_images=949,
    split="images",
    citation=(
        "HSICityV2, NeurIPS 2022 Datasets and Benchmarks; Hyperspectral City Challenge; protocol: HS3-Bench, "
        "arXiv 2409.11205 and 2604.26478"
    ),
    licence="not stated; ask the authors before you redistribute anything",
    notes=(
        ACCESS,
        "Every second row and column of the original images, in training and in scores, as the benchmark does it.",
        "Not yet validated on the real files; the rank of their .hsd files is not known.",
    ),
)

IGNORED_IDS = (255,)
REMEDY = ACCESS


def survey_hcv2(definition: Definition, places: tuple[Path, ...]) -> Survey:
    """Whether the .hsd files and their labels, or the HDF5 files of the benchmark's code, are at hand."""
    return survey_folder(definition, places, FOLDER, partial(_look, definition.facts.name), read_hcv2)


def _look(dataset: str, base: Path, marker: Marker | None) -> Found:
    reads = {"dataset": dataset}
    if hdf5_files(base, "hcv2"):
        return Found(reads=reads)
    absent, first = [], None
    for side, count in OFFICIAL.items():
        names = stems(base / side, ".hsd")
        if not names or (marker is None and len(names) < count):
            absent.append(f"{side}/<stem>.hsd ({len(names)} of {count})")
        labels = stems(base / side / "gt", "_gray.png") | stems(base / side, "_gray.png")
        absent += [f"{side}/gt/rgb{name}_gray.png" for name in sorted(names) if f"rgb{name}" not in labels]
        first = first or (base / side / f"{min(names)}.hsd" if names else None)
    if absent or first is None:
        return Found(absent=tuple(absent))
    try:
        header = read_header(first)
    except DataError as error:
        return Found(reason=str(error))
    provenance = (
        f"Headers of the .hsd files: first band at {header.start_nm} nm, step {header.step_nm:g} nm, last at "
        f"{header.end_nm} nm; the header of every file is compared. Each pixel is kept as {header.rank} scores."
    )
    facts = {"wavelengths_nm": header.wavelengths_nm, "wavelengths_provenance": provenance}
    return Found(facts=facts if header.bands == FACTS.num_bands else {}, reads=reads)


def read_hcv2(base: Path, marker: Marker | None = None, dataset: str = "hcv2") -> Reading:
    """1330 images [711, 944, 128] as scores and coefficients, with the train ids of Cityscapes, 255 ignored.

    Raises:
        DataError: other names than the official ones, or headers that differ.
    """
    files = hdf5_files(base, "hcv2")
    if files:
        return read_hdf5(dataset, files, partial(_known, base, marker))
    names = {side: sorted(stems(base / side, ".hsd")) for side in OFFICIAL}
    fold = _fold(dataset, base, marker, names["train"], names["test"])
    images, wanted = [], None
    for name, side in sorted((name, side) for side, members in names.items() for name in members):
        cube, labels = base / side / f"{name}.hsd", base / side / "gt" / f"rgb{name}_gray.png"
        labels = labels if labels.is_file() else base / side / labels.name
        wanted = wanted or read_header(cube).wavelengths_nm
        reader = partial(_read_image, dataset, name, cube, labels, wanted)
        images.append(ImageSource(name=name, stamp=stamp_of(cube, labels), read=reader))
    return Reading(images=images, folds=(fold,))


def _read_image(dataset: str, name: str, cube: Path, labels: Path, wanted_nm: tuple[float, ...]) -> RawImage:
    import numpy as np

    from orchestrator.datasets._formats import read_array

    header = read_header(cube)
    if header.wavelengths_nm != wanted_nm:
        raise DataError(
            f"dataset {dataset}: {cube} has {header.bands} bands from {header.start_nm} nm in steps of "
            f"{header.step_nm:g} nm, other files {len(wanted_nm)} from {wanted_nm[0]:g} nm; a set has one sensor: "
            "get the file again"
        )
    found = read_array(labels, dimensions=2).array
    if found.shape != (header.height, header.width):
        raise DataError(
            f"dataset {dataset}: {labels} has size {found.shape}, the cube {(header.height, header.width)} (height, "
            "width); give the labels that belong to this cube"
        )
    half = halved(found)
    return RawImage(
        name=name, cube=read_hsd(cube, half_resolution=True), labels=half, valid=np.ones(half.shape, dtype=bool)
    )


def _fold(dataset: str, base: Path, marker: Marker | None, train: list[str], test: list[str]) -> FoldPlan:
    protocol = PROTOCOLS[dataset]
    if marker:
        return read_lists(dataset, base / (SPLITS if protocol == "2026" else f"{SPLITS}_{protocol}"))
    for side, found in (("train", train), ("test", test)):
        if len(found) != OFFICIAL[side]:
            raise DataError(
                f"dataset {dataset}: {len(found)} images in {side}, official are {OFFICIAL[side]}; get the files again"
            )
    drawn = [train[index] for index in permutation(len(train))]
    second = HCV2_OLD_TRAIN + HCV2_VALIDATION
    parts = (drawn[:HCV2_OLD_TRAIN], drawn[HCV2_OLD_TRAIN:second], drawn[second:])
    for part, expected in zip(parts, HASHES_OLD, strict=True):
        check_hash(dataset, "official train", list_hash(part, ending=".hsd"), expected)
    check_hash(dataset, "test", list_hash(test, ending=".hsd", last_newline=False), HASHES_2026["test"])
    return hcv2_fold(train, test, protocol)


def _known(base: Path, marker: Marker | None, names: Mapping[str, tuple[str, ...]]) -> dict[str, FoldPlan]:
    """The folds of both protocols over the names that HDF5 files hold."""
    train = sorted([*names["train"], *names["val"]])
    return {dataset: _fold(dataset, base, marker, train, sorted(names["test"])) for dataset in PROTOCOLS}
