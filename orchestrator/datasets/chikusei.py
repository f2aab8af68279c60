"""Chikusei: a large airborne scene of fields and a town in Japan, which few-shot papers pretrain on.

The cube is a MATLAB 7.3 file (HDF5); the labels are the field `gt` of a structure `GT` in an older one. Reading it
takes the memory of the whole cube: 752 million numbers.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, UNCHECKED, checked_scene
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts, SourceFile

CUBE = SourceFile(path="remote/chikusei/HyperspecVNIR_Chikusei_20140729.mat")
LABELS = SourceFile(path="remote/chikusei/HyperspecVNIR_Chikusei_20140729_Ground_Truth.mat")

FACTS = DatasetFacts(
    name="chikusei",
    title="Chikusei, Headwall Hyperspec-VNIR-C 2014, 19 classes of fields and a town",
    num_bands=128,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The MATLAB file holds no wavelengths. The data set's report says: 128 bands from 363 to 1018 nm."
    ),
    # The report says corrected to reflectance, but not the scale of the numbers in the file, so they count as raw.
    quantity="raw",
    class_names=(
        "water",
        "bare-soil-school",
        "bare-soil-park",
        "bare-soil-farmland",
        "natural-plants",
        "weeds-in-farmland",
        "forest",
        "grass",
        "rice-field-grown",
        "rice-field-first-stage",
        "row-crops",
        "plastic-house",
        "manmade-non-dark",
        "manmade-dark",
        "manmade-blue",
        "manmade-red",
        "manmade-grass",
        "asphalt",
        "paved-ground",
    ),
    class_ids=tuple(range(1, 20)),
    domain="remote",
    sensor="Headwall Hyperspec-VNIR-C",
    region="Chikusei, Ibaraki, Japan",
    task="scene",
    image_size_px=(2517, 2335),
    labelled_pixels=77_592,
    split="block",
    files=(CUBE, LABELS),
    citation="Yokoya, Iwasaki: Airborne hyperspectral data over Chikusei. Technical report, University of Tokyo, 2016",
    licence="not established; its terms are on the data set's page",
    notes=(NOT_VALIDATED, UNCHECKED),
)

BLOCKS = BlockRule(side_px=64, buffer_px=8)
REMEDY = (
    "get the MATLAB files of the scene from https://naotoyokoya.com/Download.html and put them into remote/chikusei "
    "below the data root"
)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [2517, 2335, 128], labels [2517, 2335]."""
    from orchestrator.datasets._formats import read_array

    cube = read_array(folder / CUBE.path, variable="chikusei", dimensions=3).array
    return checked_scene(FACTS, cube, read_labels(folder / LABELS.path), folder / CUBE.path, folder / LABELS.path)


def read_labels(path: Path) -> Any:
    """The field `gt` of the structure `GT`.

    Raises:
        DataError: absent, damaged, or without that field.
    """
    from scipy.io import loadmat

    if not path.is_file():
        raise DataError(f"file {path} not found; {REMEDY}")
    try:
        structure = loadmat(path, variable_names=["GT"])["GT"]
        return structure["gt"][0, 0]
    # The library raises anything from struct.error to KeyError on damaged files.
    except Exception as error:
        raise DataError(
            f"cannot read the field gt of the structure GT in {path}: {type(error).__name__}: {error}; "
            "the file is damaged or another one; get it again"
        ) from error
