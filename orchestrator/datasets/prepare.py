"""Original files to the memory-mapped store, once. Damage is found here, before any training."""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from filelock import FileLock

from orchestrator.datasets._base import Definition, FoldPlan, Progress
from orchestrator.datasets._blocks import BlockLayout, deal_blocks, default_rule
from orchestrator.datasets._checks import CheckedImage, check_files, check_image
from orchestrator.datasets._folds import balanced_folds
from orchestrator.datasets._manifest import PROTOCOL_VERSION, prepared_folder, read_manifest
from orchestrator.datasets._streams import stream
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.registry import find_files, get_definition, remedy
from orchestrator.datasets.store import write_image, write_manifest
from orchestrator.errors import DataError, SweepError
from orchestrator.plan.facts import DatasetFacts
from orchestrator.plan.run_spec import content_hash

ABANDONED_AFTER_S = 24 * 3600


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
    definition = get_definition(name)
    target = prepared_folder(definition, locations.prepared)
    if _is_whole(target):
        return target
    try:
        locations.prepared.mkdir(parents=True, exist_ok=True)
        with FileLock(locations.prepared / f".{target.name}.lock"):
            if not _is_whole(target):
                _remove_abandoned(locations.prepared)
                _build(definition, name, locations, target, progress)
    except OSError as error:
        raise DataError(
            f"cannot write the prepared data set {name} below {locations.prepared}: {error}; "
            "set HSFM_CACHE to a writable folder with free space"
        ) from error
    return target


def _is_whole(folder: Path) -> bool:
    manifest = read_manifest(folder)
    if manifest is None:
        return False
    try:
        return all((folder / image["file"]).stat().st_size == image["size_bytes"] for image in manifest["images"])
    except OSError:
        return False


def _build(
    definition: Definition, name: str, locations: DataLocations, target: Path, progress: Progress | None
) -> None:
    folder, absent = find_files(definition, locations)
    if folder is None:
        raise DataError(f"dataset {name}: file {absent[0]} not found; to get it: {remedy(definition, name)}")
    check_files(definition, folder, progress)
    images = [check_image(definition.facts, definition.ignored_ids, raw) for raw in _read(definition, folder)]
    _check_set(definition.facts, images)
    layout, folds = split_images(definition, images)
    building = Path(tempfile.mkdtemp(prefix=f".building-{target.name}-", dir=target.parent))
    try:
        entries = []
        for index, image in enumerate(images):
            entries.append(write_image(building, index, image.name, image.cube, image.labels, image.valid))
            if progress:
                progress(f"writing {image.name}", index + 1, len(images))
        digest = _digest(definition.facts, images, layout, folds)
        write_manifest(building, facts=definition.facts, digest=digest, images=entries, layout=layout, folds=folds)
        for file in building.iterdir():
            _to_disk(file)
        building.chmod(0o755)
        if target.exists():
            shutil.rmtree(target)
        building.rename(target)
    except BaseException:
        shutil.rmtree(building, ignore_errors=True)
        raise


def split_images(
    definition: Definition, images: Sequence[CheckedImage]
) -> tuple[BlockLayout | None, tuple[FoldPlan, ...]]:
    """The data set's own sides: blocks of a scene, or folds over images; seeded by the data set's name alone."""
    facts = definition.facts
    if facts.task == "scene":
        labels_HW = images[0].labels
        rule = definition.blocks or default_rule(*labels_HW.shape)
        return deal_blocks(labels_HW, facts.num_classes, rule, stream("blocks", facts.name)), ()
    if definition.folds is not None:
        _check_folds(facts, definition.folds, {image.name for image in images})
        return None, definition.folds
    counts_IK = np.array([np.bincount(i.labels[i.labels >= 0], minlength=facts.num_classes) for i in images])
    return None, balanced_folds([i.name for i in images], counts_IK, facts.folds, stream("folds", facts.name))


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
        if not fold.train or not fold.test:
            raise DataError(f"dataset {facts.name}: fold {number} has no image to train or to test; add one")


def _read(definition: Definition, folder: Path) -> list[Any]:
    """The reader at work; whatever a file library throws at a damaged file becomes one kind of error."""
    try:
        return definition.read(folder)
    except SweepError:
        raise
    # Readers of five formats raise anything from struct.error to KeyError on a damaged file.
    except Exception as error:
        names = ", ".join(file.path for file in definition.facts.files[:3])
        raise DataError(
            f"dataset {definition.facts.name}: cannot read its files below {folder} ({names} ...): "
            f"{type(error).__name__}: {error}; they are damaged or of another format; get them again"
        ) from error


def _check_set(facts: DatasetFacts, images: Sequence[CheckedImage]) -> None:
    names = [image.name for image in images]
    if not images or len(set(names)) != len(names):
        raise DataError(f"dataset {facts.name}: {len(names)} images with {len(set(names))} names; each needs its own")
    if facts.task == "scene" and len(images) != 1:
        raise DataError(f"dataset {facts.name}: {len(images)} images, but a single scene was stated (task)")
    if len(images) != facts.num_images:
        raise DataError(f"dataset {facts.name}: {len(images)} images found, {facts.num_images} are stated; correct it")
    largest = max(image.labels.shape[0] for image in images), max(image.labels.shape[1] for image in images)
    if largest != facts.image_size_px:
        raise DataError(
            f"dataset {facts.name}: the largest image is {largest[0]} x {largest[1]} px (height x width), "
            f"{facts.image_size_px[0]} x {facts.image_size_px[1]} are stated; correct image_size_px"
        )
    if not any((image.labels >= 0).any() for image in images):
        raise DataError(
            f"dataset {facts.name}: no labelled pixel in any image; check the class ids {facts.class_ids} "
            "against the label files"
        )


def _digest(
    facts: DatasetFacts, images: Sequence[CheckedImage], layout: BlockLayout | None, folds: Sequence[FoldPlan]
) -> str:
    """Identity of content, labels, splits and protocol; titles, addresses and licences are not in it."""
    hashes = []
    for image in images:
        sums = [
            hashlib.sha256(np.ascontiguousarray(part).data).hexdigest()
            for part in (image.cube, image.labels, image.valid)
        ]
        hashes.append([image.name, str(image.cube.dtype), list(image.cube.shape), *sums])
    question = {
        "images": hashes,
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
    return content_hash(question)


def _to_disk(file: Path) -> None:
    with file.open("rb") as handle:
        os.fsync(handle.fileno())


def _remove_abandoned(folder: Path) -> None:
    """What killed processes left behind."""
    for left in folder.glob(".building-*"):
        if time.time() - left.stat().st_mtime > ABANDONED_AFTER_S:
            shutil.rmtree(left, ignore_errors=True)
