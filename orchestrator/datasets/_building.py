"""Images into a store one by one: checked, written, hashed and forgotten: no set has to fit into memory."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import Definition, FoldPlan, ImageSource, Progress, Reading
from orchestrator.datasets._blocks import BlockLayout
from orchestrator.datasets._checks import CheckedImage, check_image
from orchestrator.datasets._low_rank import LowRankCube
from orchestrator.datasets._manifest import PROTOCOL_VERSION
from orchestrator.datasets.store import BandMoments, write_image
from orchestrator.errors import DataError, SweepError
from orchestrator.plan.facts import DatasetFacts
from orchestrator.plan.run_spec import content_hash

CHUNK_PIXELS = 65_536


@dataclass(frozen=True, kw_only=True)
class Made:
    """What is remembered of an image that was written."""

    entry: dict[str, Any]
    """Its entry of the manifest."""
    identity: list[Any]
    """Its part of the digest: name, type, shape, and SHA-256 of cube, labels and valid pixels."""
    class_counts: list[int]
    stamp: str = ""


def write_images(
    definition: Definition, reading: Reading, building: Path, progress: Progress | None
) -> tuple[list[Made], NDArray[np.int16] | None]:
    """Write every image below `building`, those that an interrupted start has written excepted.

    Returns:
        What is remembered of each image, and the label map of the last one (a scene has only that).

    Raises:
        DataError: an image is damaged, or does not fit the facts.
    """
    made: list[Made] = []
    labels_HW: NDArray[np.int16] | None = None
    for index, source in enumerate(reading.images):
        found = _kept(building, index, source)
        if found is None:
            image = check_image(definition.facts, definition.ignored_ids, _read(definition, source))
            labels_HW = image.labels
            found = _write(building, index, source, image, definition.facts)
        made.append(found)
        if progress:
            progress(f"writing {source.name}", index + 1, len(reading.images))
    return made, labels_HW


def forget_records(folder: Path) -> None:
    """Remove what an interrupted start would go on with; only once the store is whole and in its place."""
    for record in folder.glob("image_*.json"):
        record.unlink(missing_ok=True)


def _read(definition: Definition, source: ImageSource) -> Any:
    """The reader at work; whatever a file library throws at a damaged file becomes one kind of error."""
    try:
        return source.read()
    except SweepError:
        raise
    except Exception as error:
        raise DataError(
            f"dataset {definition.facts.name}, image {source.name}: cannot read its files: "
            f"{type(error).__name__}: {error}; they are damaged or of another format; get them again"
        ) from error


def _write(building: Path, index: int, source: ImageSource, image: CheckedImage, facts: DatasetFacts) -> Made:
    entry = write_image(building, index, image.name, image.cube, image.labels, image.valid)
    if source.stamp:
        entry["moments"] = moments(image).to_json()
    cube = image.cube
    parts = (
        (cube.scores_HWD, cube.coefficients_DC, cube.mean_C, image.labels, image.valid)
        if isinstance(cube, LowRankCube)
        else (cube, image.labels, image.valid)
    )
    sums = [hashlib.sha256(np.ascontiguousarray(part).data).hexdigest() for part in parts]
    made = Made(
        entry=entry,
        identity=[image.name, str(cube.dtype), list(cube.shape), *sums],
        class_counts=np.bincount(image.labels[image.labels >= 0], minlength=facts.num_classes).tolist(),
        stamp=source.stamp,
    )
    if source.stamp:
        # The image first, then its record: a record never speaks of an image that is not whole.
        to_disk(building / entry["file"])
        _record(building, index).write_text(json.dumps(asdict(made)), encoding="utf-8")
    return made


def _record(building: Path, index: int) -> Path:
    return building / f"image_{index:05d}.json"


def _kept(building: Path, index: int, source: ImageSource) -> Made | None:
    """What an interrupted start has made of the same files."""
    try:
        made = Made(**json.loads(_record(building, index).read_text(encoding="utf-8")))
        whole = (building / made.entry["file"]).stat().st_size == made.entry["size_bytes"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return made if whole and source.stamp and (made.stamp, made.entry["name"]) == (source.stamp, source.name) else None


def moments(image: CheckedImage) -> BandMoments:
    """Moments of an image's valid pixels; those of a cube of scores follow from the scores but for the range."""
    cube = image.cube
    if isinstance(cube, LowRankCube):
        scores = cube.scores_HWD.reshape(-1, cube.rank).astype(np.float64)
        centre_D = scores.mean(axis=0)
        scores -= centre_D
        coefficients_DC = cube.coefficients_DC.astype(np.float64)
        mean_C = centre_D @ coefficients_DC + cube.mean_C
        squares_C = ((scores.T @ scores) @ coefficients_DC * coefficients_DC).sum(axis=0)
        count = len(scores)
    else:
        spectra = cube[image.valid].astype(np.float64)
        mean_C = spectra.mean(axis=0)
        squares_C = ((spectra - mean_C) ** 2).sum(axis=0)
        count = len(spectra)
    minimum_C, maximum_C = np.full_like(mean_C, np.inf), np.full_like(mean_C, -np.inf)
    rows = max(1, CHUNK_PIXELS // image.valid.shape[1])
    for first in range(0, image.valid.shape[0], rows):
        part = cube[first : first + rows][image.valid[first : first + rows]]
        if len(part):
            minimum_C, maximum_C = np.minimum(minimum_C, part.min(axis=0)), np.maximum(maximum_C, part.max(axis=0))
    return BandMoments(count=count, mean_C=mean_C, squares_C=squares_C, minimum_C=minimum_C, maximum_C=maximum_C)


def digest_of(facts: DatasetFacts, made: Sequence[Made], layout: BlockLayout | None, folds: Sequence[FoldPlan]) -> str:
    """Identity of content, labels, splits and protocol; titles, addresses and licences are not in it."""
    question: dict[str, Any] = {
        "images": [one.identity for one in made],
        "layout": layout.to_json() if layout else None,
        "folds": [[fold.train, fold.validation, fold.test] for fold in folds],
        "wavelengths_nm": facts.wavelengths_nm,
        "fwhm_nm": facts.fwhm_nm,
        "quantity": facts.quantity,
        "scale": facts.scale,
        "class_names": facts.class_names,
        "headline_classes": facts.headline_classes,
        "reader_version": facts.reader_version,
        "protocol_version": PROTOCOL_VERSION,
    }
    # Only where it says something, so that the digests of all other data sets stay what they were.
    if facts.labels == "generated":
        question["labels"] = facts.labels
    return content_hash(question)


def to_disk(file: Path) -> None:
    """Wait until the file's bytes are on the disk."""
    with file.open("rb") as handle:
        os.fsync(handle.fileno())
