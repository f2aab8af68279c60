"""What must hold of original files before a data set is used; every finding names file, found, expected, remedy."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import UNLABELLED, Definition, Progress, RawImage
from orchestrator.datasets._low_rank import LowRankCube
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts

CUBE_KINDS = "integers or floats of at most 64 bits"


@dataclass(frozen=True, kw_only=True)
class CheckedImage:
    """An image that passed: labels are class indices, invalid pixels are 0 and unlabelled."""

    name: str
    cube: NDArray[Any] | LowRankCube
    labels: NDArray[np.int16]
    valid: NDArray[np.bool_]


def sha256_of(file: Path) -> str:
    """SHA-256 of a file's bytes, as hex digits."""
    with file.open("rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()


def check_files(definition: Definition, folder: Path, progress: Progress | None = None) -> None:
    """Compare the original files with their known checksums.

    Raises:
        DataError: a file is not the one that was published.
    """
    files = definition.facts.files
    for index, source in enumerate(files):
        file = folder / source.path
        found = sha256_of(file) if source.sha256 else None
        if found != source.sha256:
            advice = f"run: hsfm-sweep data fetch {definition.facts.name}" if source.url else "install it again"
            raise DataError(
                f"{file} is damaged or another version: SHA-256 {found}, expected {source.sha256} "
                f"({file.stat().st_size} bytes on disk); delete it and {definition.remedy or advice}"
            )
        if progress:
            progress(f"checking {source.path}", index + 1, len(files))


def check_image(facts: DatasetFacts, ignored_ids: tuple[int, ...], raw: RawImage) -> CheckedImage:
    """Check one image and turn original ids into class indices.

    Raises:
        DataError: wrong shape, type or band count, labels of another size, an unknown class id, or NaN.
    """
    where = f"dataset {facts.name}, image {raw.name}"
    cube = raw.cube if isinstance(raw.cube, LowRankCube) else np.asarray(raw.cube)
    if cube.ndim != 3 or 0 in cube.shape:
        raise DataError(f"{where}: the cube has shape {cube.shape}; expected [height, width, bands]")
    if cube.dtype.kind not in "iuf" or cube.dtype.itemsize > 8:
        raise DataError(f"{where}: the cube holds {cube.dtype}; allowed: {CUBE_KINDS}")
    if cube.shape[2] != facts.num_bands:
        raise DataError(
            f"{where}: the cube has {cube.shape[2]} bands, {facts.num_bands} are stated; "
            "correct the statement or the file"
        )
    for part, array in (("label image", raw.labels), ("valid mask", raw.valid)):
        if array.shape != cube.shape[:2]:
            raise DataError(
                f"{where}: the {part} has size {array.shape}, the cube {cube.shape[:2]} (height, width); "
                "give the labels that belong to this cube"
            )
    valid = np.ascontiguousarray(raw.valid, dtype=bool)
    labels = _class_indices(where, facts, ignored_ids, raw.labels)
    labels = np.where(valid, labels, np.int16(UNLABELLED))
    if isinstance(cube, LowRankCube):
        _check_scores(where, cube, valid)
        return CheckedImage(name=raw.name, cube=cube, labels=labels, valid=valid)
    _check_finite(where, cube, valid)
    dtype = (
        np.dtype(np.float32) if cube.dtype.itemsize == 2 and cube.dtype.kind == "f" else cube.dtype.newbyteorder("=")
    )
    cube = np.ascontiguousarray(cube, dtype=dtype)
    if not valid.all():
        cube = np.where(valid[:, :, None], cube, dtype.type(0))
    return CheckedImage(name=raw.name, cube=cube, labels=labels, valid=valid)


def _check_scores(where: str, cube: LowRankCube, valid: NDArray[np.bool_]) -> None:
    """Scores, coefficients and mean must all be numbers: a cube that is never decoded whole is checked by its parts."""
    if not valid.all():
        raise DataError(f"{where}: {int((~valid).sum())} pixels are nodata; a cube of scores cannot have any")
    for part, array in (("score", cube.scores_HWD), ("coefficient", cube.coefficients_DC), ("mean", cube.mean_C)):
        bad = int((~np.isfinite(array)).sum())
        if bad:
            raise DataError(f"{where}: {bad} {part} values are NaN or infinite; the file is damaged: get it again")


def _check_finite(where: str, cube: NDArray[Any], valid: NDArray[np.bool_]) -> None:
    if not valid.any():
        raise DataError(f"{where}: every pixel is nodata; check the nodata value")
    if cube.dtype.kind != "f":
        return
    bad = ~np.isfinite(cube) & valid[:, :, None]
    if bad.any():
        row, column, band = (int(axis[0]) for axis in np.nonzero(bad))
        raise DataError(
            f"{where}: {int(bad.sum())} values are NaN or infinite, the first at row {row}, column {column}, "
            f"band {band} (from 0), outside of the stated nodata; state the nodata value (nodata: nan), drop the band, "
            "or repair the file"
        )


def _class_indices(
    where: str, facts: DatasetFacts, ignored_ids: tuple[int, ...], labels: NDArray[Any]
) -> NDArray[np.int16]:
    if labels.dtype.kind not in "iub":
        whole = np.asarray(labels, dtype=np.float64)
        if not np.array_equal(whole, np.round(whole)):
            raise DataError(f"{where}: the labels hold {labels.dtype} that are no whole numbers; expected class ids")
        labels = whole.astype(np.int64)
    result = np.full(labels.shape, UNLABELLED, dtype=np.int16)
    known = np.isin(labels, ignored_ids)
    for index, class_id in enumerate(facts.class_ids):
        here = labels == class_id
        result[here] = index
        known |= here
    if not known.all():
        strange = np.unique(labels[~known])
        raise DataError(
            f"{where}: label ids {strange[:8].tolist()} are neither a class {list(facts.class_ids)} nor ignored "
            f"{list(ignored_ids)}; name them as classes or add them to ignored_ids"
        )
    return result
