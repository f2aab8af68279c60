"""The HDF5 files that the code of HS3-Bench writes: one a split, one group an image with `image` and `labels`."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

from orchestrator.datasets._base import FoldPlan, ImageSource, RawImage, Reading
from orchestrator.datasets._hs3_files import stamp_of
from orchestrator.datasets._hs3_splits import SIDES, fold_of, membership_hash
from orchestrator.errors import DataError


def hdf5_files(folder: Path, stem: str) -> dict[str, Path] | None:
    """The three files, or None where they are not all there."""
    files = {side: folder / f"{stem}_{side}.h5" for side in SIDES}
    return files if all(file.is_file() for file in files.values()) else None


def read_hdf5(
    dataset: str,
    files: Mapping[str, Path],
    expected: Callable[[Mapping[str, tuple[str, ...]]], Mapping[str, FoldPlan]],
) -> Reading:
    """Images of three HDF5 files, in the split that they are in.

    Args:
        dataset: name, for errors.
        files: one file a side.
        expected: from the names of each side, the folds that the benchmark knows by the data set's name; the one
            named `dataset` is what the files must hold.

    Raises:
        DataError: a group lacks image or labels, an image is on two sides, or the files hold another split.
    """
    import h5py

    groups: dict[str, dict[str, str]] = {}
    for side, file in files.items():
        with h5py.File(file, "r") as opened:
            for key, item in opened.items():
                absent = [part for part in ("image", "labels") if part not in item]
                if absent:
                    raise DataError(
                        f"dataset {dataset}: group {key!r} of {file} has no {absent[0]!r}; it holds: "
                        f"{', '.join(item) or 'nothing'}; write the file again with the code of HS3-Bench"
                    )
                groups.setdefault(side, {})[key.removesuffix("_TC")] = key
    names = {side: tuple(sorted(groups.get(side, {}))) for side in SIDES}
    found = fold_of(dataset, names)
    _check_split(dataset, files["train"].parent, found, expected(names))
    images = [
        ImageSource(name=name, stamp=stamp_of(files[side]), read=partial(_read_group, files[side], key, name))
        for side in SIDES
        for name, key in sorted(groups.get(side, {}).items())
    ]
    return Reading(images=sorted(images, key=lambda image: image.name), folds=(found,))


def _check_split(dataset: str, folder: Path, found: FoldPlan, known: Mapping[str, FoldPlan]) -> None:
    hashes = {name: membership_hash(fold) for name, fold in known.items()}
    own = membership_hash(found)
    if own == hashes[dataset]:
        return
    other = next((name for name, value in hashes.items() if value == own), None)
    sizes = "/".join(str(len(side)) for side in (found.train, found.validation, found.test))
    advice = f"that is the split of {other}: use it by that name" if other else "no split of the benchmark is like it"
    raise DataError(
        f"dataset {dataset}: the HDF5 files in {folder} hold another split ({sizes} images, membership hash {own}, "
        f"expected {hashes[dataset]}); {advice}, or write the files again with the lists of this one"
    )


def _read_group(file: Path, key: str, name: str) -> RawImage:
    import h5py
    import numpy as np

    with h5py.File(file, "r") as opened:
        cube, labels = opened[key]["image"][()], opened[key]["labels"][()]
    if labels.ndim == 3 and 1 in (labels.shape[0], labels.shape[2]):
        labels = labels.reshape(cube.shape[:2]) if labels.size == cube.shape[0] * cube.shape[1] else labels
    return RawImage(name=name, cube=cube, labels=labels, valid=np.ones(cube.shape[:2], dtype=bool))
