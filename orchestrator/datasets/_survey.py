"""Looks through a folder for cubes and label images and pairs them; reads headers and labels, never a whole cube."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from orchestrator.datasets._formats import ENDINGS, Axes, read_array
from orchestrator.datasets._headers import Header, headers_of
from orchestrator.errors import DataError

FILES_AT_MOST = 20_000
IDS_AT_MOST = 256
NAMES_ALIKE = 0.6
SAMPLED_EVERY_PX = 16
LABEL_WORDS = re.compile(r"(ground_?truth|annotations?|labels?|masks?|class(es)?|segmentation|gt|roi)", re.IGNORECASE)
SPLIT_WORDS = {"train": "train", "validation": "validation", "val": "validation", "valid": "validation", "test": "test"}


@dataclass(frozen=True, kw_only=True)
class Cube:
    """A cube as far as its header tells; None where it does not."""

    path: str
    variable: str | None
    shape: tuple[int, ...]
    size: tuple[int, int] | None
    bands: int | None
    axes_uncertain: tuple[Axes, ...]
    wavelengths_nm: tuple[float, ...] | None
    fwhm_nm: tuple[float, ...] | None
    good_bands: tuple[bool, ...] | None
    nodata: float | None
    scale: float | None
    numbers: str
    """Type and range of some of its numbers, where they can be looked at without loading it."""


@dataclass(frozen=True, kw_only=True)
class Pair:
    """A cube and the label image that seems to be its own."""

    cube: Cube
    labels: Header | None
    candidates: tuple[str, ...]
    """Label images of the cube's size, where none could be told to be its own."""


@dataclass(frozen=True, kw_only=True)
class Found:
    """What a folder holds."""

    pairs: tuple[Pair, ...]
    label_ids: tuple[int, ...]
    class_names: Mapping[int, str] | None
    split_lists: Mapping[str, str]
    unread: tuple[str, ...]
    """Files of a known ending that could not be read, and why."""
    unlabelled: tuple[str, ...]
    """Cubes left out of the pairs: others have label images, and none that is left fits these."""


def survey(folder: Path) -> Found:
    """Cubes, their label images, the ids in these, and split lists.

    Raises:
        DataError: the folder is absent, too large to be meant, or holds no cube.
    """
    if not folder.is_dir():
        raise DataError(f"folder {folder} not found; give the folder of your cubes and label images")
    files = [file for file in sorted(folder.rglob("*")) if file.is_file() and not file.name.startswith(".")]
    if len(files) > FILES_AT_MOST:
        raise DataError(
            f"folder {folder} holds {len(files)} files, more than {FILES_AT_MOST}; give the data set's folder"
        )
    headers, unread = _headers(folder, files)
    cubes = [header for header in headers if header.is_cube]
    flat = [header for header in headers if header.is_flat]
    if not cubes:
        damaged = f" ({unread[0]})" if unread else ""
        raise DataError(
            f"folder {folder} holds no cube that can be read{damaged}; known endings: {', '.join(ENDINGS)}; "
            "give another folder"
        )
    pairs, unlabelled = _labelled([_pair(folder, cube, flat, alone=len(cubes) == 1) for cube in cubes])
    ids, names = _label_ids(folder, [pair.labels for pair in pairs if pair.labels is not None])
    lists: dict[str, str] = {}
    for file in files:
        word = SPLIT_WORDS.get(re.split(r"[^a-z]", file.stem.lower())[0])
        if word and file.suffix.lower() in (".txt", ".csv"):
            lists.setdefault(word, file.relative_to(folder).as_posix())
    return Found(
        pairs=pairs,
        label_ids=ids,
        class_names=names,
        split_lists=lists if {"train", "test"} <= set(lists) else {},
        unread=tuple(unread),
        unlabelled=unlabelled,
    )


def _headers(folder: Path, files: Sequence[Path]) -> tuple[list[Header], list[str]]:
    """Headers of all arrays, and what could not be read."""
    headers: list[Header] = []
    unread = []
    for file in files:
        try:
            headers += headers_of(folder, file)
        except (DataError, OSError, ValueError) as error:
            unread.append(f"{file.relative_to(folder).as_posix()}: {error}")
    return headers, unread


def _labelled(pairs: Sequence[Pair]) -> tuple[tuple[Pair, ...], tuple[str, ...]]:
    """Pairs that have a label image or may have one, and the cubes of the others.

    A cube beside a labelled scene is there to be predicted: it is no reason for a question.
    """
    taken = {pair.labels.path for pair in pairs if pair.labels is not None}
    if not taken:
        return tuple(pairs), ()
    left = [replace(pair, candidates=tuple(path for path in pair.candidates if path not in taken)) for pair in pairs]
    without = tuple(pair.cube.path for pair in left if pair.labels is None and not pair.candidates)
    return tuple(pair for pair in left if pair.cube.path not in without), without


def _pair(folder: Path, cube: Header, flat: Sequence[Header], *, alone: bool) -> Pair:
    """The label image of the cube's size whose name is most like the cube's."""
    fitting = [header for header in flat if _order(cube, header.shape)]
    own = _most_alike(cube, fitting, alone=alone)
    order = _order(cube, own.shape) if own else _order(cube, None)
    # Two orders are left for a square cube with its bands first; the number of bands is the same in both.
    sizes = {(name, *_sized(cube.shape, name)) for name in order}
    bands = {size[3] for size in sizes}
    known = len(bands) == 1
    size = next(iter(sizes)) if known else None
    described = Cube(
        path=cube.path,
        variable=cube.variable,
        shape=cube.shape,
        size=(own.shape[0], own.shape[1]) if own else ((size[1], size[2]) if size and len(order) == 1 else None),
        bands=bands.pop() if known else None,
        axes_uncertain=tuple(order) if known and len(order) > 1 else (),
        wavelengths_nm=cube.wavelengths_nm,
        fwhm_nm=cube.fwhm_nm,
        good_bands=cube.good_bands,
        nodata=cube.nodata,
        scale=cube.scale,
        numbers=_numbers(folder / cube.path),
    )
    return Pair(cube=described, labels=own, candidates=tuple(header.path for header in fitting) if own is None else ())


def _numbers(file: Path) -> str:
    """What the numbers of a cube look like; only of ENVI files, which are mapped, not loaded."""
    if file.suffix.lower() != ".hdr":
        return ""
    some = read_array(file).array[::SAMPLED_EVERY_PX, ::SAMPLED_EVERY_PX]
    finite = some[np.isfinite(some)]
    return f"the file holds {some.dtype.name}, about {finite.min():g} to {finite.max():g}" if finite.size else ""


def _sized(shape: tuple[int, ...], order: Axes) -> tuple[int, int, int]:
    """Height, width and bands."""
    first, second, third = shape
    return {"HWC": (first, second, third), "CHW": (second, third, first), "CWH": (third, second, first)}[order]


def _order(cube: Header, label_shape: tuple[int, ...] | None) -> list[Axes]:
    orders: list[Axes] = [cube.axes] if cube.axes else ["HWC", "CHW", "CWH"]
    return [order for order in orders if label_shape is None or _sized(cube.shape, order)[:2] == label_shape]


def _most_alike(cube: Header, fitting: Sequence[Header], *, alone: bool) -> Header | None:
    in_same_file = [header for header in fitting if header.path == cube.path]
    if len(in_same_file) == 1:
        return in_same_file[0]
    if alone and len(fitting) == 1:
        return fitting[0]
    same = [header for header in fitting if _bare(header) == _bare(cube)]
    if len(same) == 1:
        return same[0]
    likeness = sorted(
        (
            (difflib.SequenceMatcher(None, _bare(cube), _bare(header)).ratio(), header.path, header)
            for header in fitting
        ),
        key=lambda entry: entry[:2],
        reverse=True,
    )
    clear = likeness and likeness[0][0] >= NAMES_ALIKE and (len(likeness) == 1 or likeness[0][0] > likeness[1][0])
    # Names that are merely alike (day01, day06) are no proof where there are several cubes.
    return likeness[0][2] if clear and alone else None


def _bare(header: Header) -> str:
    """The name without what only says that it is a cube or a label image."""
    words = re.split(r"[^a-z0-9]+", Path(header.path).stem.lower())
    plain = [word for word in words if not LABEL_WORDS.fullmatch(word)]
    return "_".join(word for word in plain if word not in ("cube", "image", "img", "corrected", "data", "hsi"))


def _label_ids(folder: Path, labels: Sequence[Header]) -> tuple[tuple[int, ...], Mapping[int, str] | None]:
    ids: set[int] = set()
    names: dict[int, str] = {}
    for header in labels:
        found = read_array(folder / header.path, variable=header.variable, dimensions=2)
        values = np.unique(found.array)
        whole = values[np.isfinite(values)].astype(np.int64)
        if whole.size > IDS_AT_MOST or not np.array_equal(whole, values):
            return (), None
        ids |= set(whole.tolist())
        names |= dict(enumerate(found.class_names or ()))
    return tuple(sorted(ids)), names or None
