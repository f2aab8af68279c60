"""Original files to the memory-mapped store, once. Damage is found here, before any training."""

from __future__ import annotations

import functools
import logging
import re
import shutil
import tempfile
import time
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from orchestrator.datasets._base import Definition, FoldPlan, ImageSource, Progress, RawImage, Reading, Survey
from orchestrator.datasets._blocks import BlockLayout, deal_blocks, default_rule
from orchestrator.datasets._building import Made, digest_of, forget_records, to_disk, write_images
from orchestrator.datasets._checks import check_files
from orchestrator.datasets._folds import balanced_folds
from orchestrator.datasets._manifest import prepared_folder, read_manifest
from orchestrator.datasets._streams import stream
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.registry import get_definition, remedy, survey
from orchestrator.datasets.store import checksum, write_manifest
from orchestrator.errors import DataError, SweepError
from orchestrator.plan.facts import DatasetFacts

CHECKED_UP_TO_BYTES = 4 * 2**30
"""Stores up to this size are read once at a start, to find what a disk has changed."""
ABANDONED_AFTER_S = 24 * 3600
_RESUMABLE = re.compile(r"\.building-.+-[0-9a-f]{16}")
"""The folder of a large set, named as its store: the next start goes on in it, however long ago it was left."""
LOGGER = logging.getLogger(__name__)


def prepare(name: str, locations: DataLocations, *, progress: Progress | None = None) -> Path:
    """Make the prepared folder of a data set, or find it made.

    The folder appears whole or not at all; of two processes at once one waits and finds the other's work.

    Args:
        name: a data set's name, or the path of a user's YAML file.
        locations: where originals are looked for and where the store goes.
        progress: told of each file that is checked and each image that is written.

    Raises:
        ConfigError: unknown data set or a split that does not fit it.
        DataError: files are absent, damaged or do not agree; says which, what was expected, and what to do.
    """
    found = survey(get_definition(name), locations)
    target = prepared_folder(found.definition, locations.prepared)
    if _is_whole(target):
        return target
    try:
        locations.prepared.mkdir(parents=True, exist_ok=True)
        with FileLock(locations.prepared / f".{target.name}.lock"):
            if not _is_whole(target):
                _remove_abandoned(locations.prepared)
                _build(found, name, target, progress)
    except OSError as error:
        raise DataError(
            f"cannot write the prepared data set {name} below {locations.prepared}: {error}; "
            "set HSFM_CACHE to a writable folder with free space"
        ) from error
    return target


def _is_whole(folder: Path) -> bool:
    """Whether every file is there as it was written; a store that is not is made again."""
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    changed = [
        image["file"] for image in manifest["images"] if _size_bytes(folder / image["file"]) != image["size_bytes"]
    ]
    changed = changed or list(_changed(str(folder)))
    if changed:
        LOGGER.warning("prepared data in %s are damaged (%s): they are made again", folder, ", ".join(changed[:5]))
    return not changed


def _size_bytes(file: Path) -> int:
    """Size of a file; -1 where it is absent."""
    try:
        return file.stat().st_size
    except OSError:
        return -1


@functools.cache
def _changed(folder: str) -> tuple[str, ...]:
    """Files whose content is not what was written; looked at once a process, very large stores never."""
    manifest = read_manifest(Path(folder)) or {"images": []}
    if sum(image["size_bytes"] for image in manifest["images"]) > CHECKED_UP_TO_BYTES:
        return ()
    return tuple(
        image["file"]
        for image in manifest["images"]
        if "crc32" in image and checksum(Path(folder) / image["file"]) != image["crc32"]
    )


def _build(found: Survey, name: str, target: Path, progress: Progress | None) -> None:
    definition = found.definition
    if found.folder is None:
        lack = found.reason or f"file {found.absent[0]} not found"
        raise DataError(f"dataset {name}: {lack}; to get it: {remedy(definition, name)}")
    facts = definition.facts
    if definition.survey is None:
        check_files(definition, found.folder, progress)
    reading = _read(definition, found.folder)
    _check_names(facts, [image.name for image in reading.images])
    folds = reading.folds or definition.folds
    if folds is not None:
        _check_folds(facts, folds, {image.name for image in reading.images})
    for note in reading.notes:
        LOGGER.warning("dataset %s: %s", name, note)
    building = _building_folder(target, reading)
    try:
        made, labels_HW = write_images(definition, reading, building, progress)
        _check_set(facts, made)
        layout, folds = _split(definition, made, labels_HW, folds)
        entries = [one.entry for one in made]
        digest = digest_of(facts, made, layout, folds)
        write_manifest(
            building, facts=facts, digest=digest, images=entries, layout=layout, folds=folds, notes=reading.notes
        )
        for file in building.iterdir():
            to_disk(file)
        building.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        building.rename(target)
        forget_records(target)
        _changed.cache_clear()
    except BaseException:
        # What is written of a large set is not thrown away: the next start goes on with the images that are missing.
        if not _can_go_on(reading):
            shutil.rmtree(building, ignore_errors=True)
        raise


def _can_go_on(reading: Reading) -> bool:
    return any(image.stamp for image in reading.images)


def _building_folder(target: Path, reading: Reading) -> Path:
    if not _can_go_on(reading):
        return Path(tempfile.mkdtemp(prefix=f".building-{target.name}-", dir=target.parent))
    building = target.parent / f".building-{target.name}"
    building.mkdir(exist_ok=True)
    return building


def _split(
    definition: Definition,
    made: Sequence[Made],
    labels_HW: NDArray[np.int16] | None,
    folds: tuple[FoldPlan, ...] | None,
) -> tuple[BlockLayout | None, tuple[FoldPlan, ...]]:
    """The data set's own sides: blocks of a scene, or folds over images; seeded by the data set's name alone."""
    facts = definition.facts
    if facts.task == "scene":
        if labels_HW is None:
            raise DataError(f"dataset {facts.name}: a scene has one image; none was read")
        rule = definition.blocks or default_rule(*labels_HW.shape)
        return deal_blocks(labels_HW, facts.num_classes, rule, stream("blocks", facts.name)), ()
    if folds is not None:
        return None, folds
    counts_IK = np.array([one.class_counts for one in made])
    names = [one.entry["name"] for one in made]
    return None, balanced_folds(names, counts_IK, facts.folds, stream("folds", facts.name))


def _check_folds(facts: DatasetFacts, folds: Sequence[FoldPlan], names: set[str]) -> None:
    for number, fold in enumerate(folds):
        listed = [*fold.train, *fold.validation, *fold.test]
        unknown_names = sorted(set(listed) - names)
        if unknown_names:
            raise DataError(
                f"dataset {facts.name}: the split lists name image {unknown_names[0]!r}, which is not in the set; "
                f"allowed: {', '.join(sorted(names)[:10])}; correct the list"
            )
        if len(listed) != len(set(listed)):
            twice = next(name for name in listed if listed.count(name) > 1)
            raise DataError(f"dataset {facts.name}: image {twice!r} is on two sides of fold {number}; keep it on one")
        if facts.labels != "none" and (not fold.train or not fold.test):
            raise DataError(f"dataset {facts.name}: fold {number} has no image to train or to test; add one")


def _read(definition: Definition, folder: Path) -> Reading:
    """The reader at work; whatever a file library throws at a damaged file becomes one kind of error."""
    try:
        found = definition.read(folder)
        if isinstance(found, Reading):
            return found
        return Reading(images=[ImageSource(name=raw.name, stamp="", read=partial(_same, raw)) for raw in found])
    except SweepError:
        raise
    # Readers of five formats raise anything from struct.error to KeyError on a damaged file.
    except Exception as error:
        names = ", ".join(file.path for file in definition.facts.files[:3])
        raise DataError(
            f"dataset {definition.facts.name}: cannot read its files below {folder} ({names} ...): "
            f"{type(error).__name__}: {error}; they are damaged or of another format; get them again"
        ) from error


def _same(raw: RawImage) -> RawImage:
    return raw


def _check_names(facts: DatasetFacts, names: Sequence[str]) -> None:
    if not names or len(set(names)) != len(names):
        raise DataError(f"dataset {facts.name}: {len(names)} images with {len(set(names))} names; each needs its own")
    if facts.task == "scene" and len(names) != 1:
        raise DataError(f"dataset {facts.name}: {len(names)} images, but a single scene was stated (task)")
    if len(names) != facts.num_images:
        raise DataError(f"dataset {facts.name}: {len(names)} images found, {facts.num_images} are stated; correct it")


def _check_set(facts: DatasetFacts, made: Sequence[Made]) -> None:
    largest = max(one.entry["height"] for one in made), max(one.entry["width"] for one in made)
    if largest != facts.image_size_px:
        raise DataError(
            f"dataset {facts.name}: the largest image is {largest[0]} x {largest[1]} px (height x width), "
            f"{facts.image_size_px[0]} x {facts.image_size_px[1]} are stated; correct image_size_px"
        )
    if facts.labels != "none" and not any(any(one.class_counts) for one in made):
        raise DataError(
            f"dataset {facts.name}: no labelled pixel in any image; check the class ids {facts.class_ids} "
            "against the label files"
        )


def _remove_abandoned(folder: Path) -> None:
    """What killed processes left behind and nobody goes on with; `gc --cache` removes the rest."""
    for left in folder.glob(".building-*"):
        if not _RESUMABLE.fullmatch(left.name) and time.time() - left.stat().st_mtime > ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
