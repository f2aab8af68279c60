"""Measures how far a task keeps training and test apart, for the receptive field of a strategy."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import SIDE_NAMES, TEST, UNLABELLED
from orchestrator.datasets._neighbours import NearImages, near_images
from orchestrator.datasets._sides import sides_of
from orchestrator.datasets.store import PreparedDataset
from orchestrator.datasets.tasks import Task


@dataclass(frozen=True, kw_only=True)
class AuditReport:
    """What a reader needs to judge a score's independence."""

    dataset: str
    split: str
    fold: int
    label_budget: str
    selection: str
    receptive_field_px: int
    buffer_px: int
    """Unused pixels between sides; 0 for images and for pixels drawn at random."""
    overlapping_footprint_share: float
    """Share of test pixels whose footprint holds a pixel that a training footprint holds too."""
    own_spectrum_share: float
    """Share of test pixels whose own spectrum is inside a training footprint."""
    nearest_train_px: int | None
    """Smallest distance (larger of rows and columns) between a test and a training label in one image."""
    train_count: int
    validation_count: int
    test_count: int
    class_counts: Mapping[str, Mapping[str, int]]
    """Labelled pixels by class: on each side (`train_side` ...) and used under the budget (`train_used` ...)."""
    classes_without_train: tuple[str, ...]
    """Scored classes without a training label."""
    classes_without_test: tuple[str, ...]
    near_images: tuple[NearImages, ...] = ()
    """Test images taken shortly before or after a seen one, where the names of an image set tell."""
    leaks: bool
    """Whether any test pixel's own spectrum is seen in training."""

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    def sentence(self) -> str:
        """The finding in words, for terminals and captions."""
        return (
            f"{self.dataset}, {self.split} split, {self.label_budget}, footprint {self.receptive_field_px} px: "
            f"{self.overlapping_footprint_share:.0%} of test pixels share pixels with a training footprint, "
            f"{self.own_spectrum_share:.0%} lie inside one"
        )


def audit(prepared: PreparedDataset, task: Task, receptive_field_px: int) -> AuditReport:
    """Audit a task for a strategy that looks at `receptive_field_px` x `receptive_field_px` pixels.

    A training footprint is what is visible in training of the window around a training label: pixels that are masked
    in training leak nothing. Validation labels count as seen by selection, not by training, and are left out.
    """
    radius = max(0, receptive_field_px // 2)
    tested = overlapping = inside = 0
    nearest: int | None = None
    for train, test, visible in zip(task.train_labels, task.test_labels, task.train_visible, strict=True):
        is_train, is_test = train != UNLABELLED, test != UNLABELLED
        tested += int(is_test.sum())
        if not is_train.any() or not is_test.any():
            continue
        distance = _distance(is_train)
        closest = int(distance[is_test].min())
        nearest = closest if nearest is None else min(nearest, closest)
        seen = (distance <= radius) & visible
        inside += int((is_test & seen).sum())
        overlapping += int((is_test & (_distance(seen) <= radius)).sum())
    counts = _class_counts(prepared, task)
    names = prepared.facts.class_names
    return AuditReport(
        dataset=task.dataset,
        split=task.split,
        fold=task.fold,
        label_budget=str(task.label_budget),
        selection=task.selection,
        receptive_field_px=receptive_field_px,
        buffer_px=task.buffer_px,
        overlapping_footprint_share=overlapping / tested,
        own_spectrum_share=inside / tested,
        nearest_train_px=nearest,
        train_count=task.train_count,
        validation_count=task.validation_count,
        test_count=task.test_count,
        class_counts=counts,
        classes_without_train=tuple(names[index] for index in task.classes_untrained),
        classes_without_test=tuple(name for name in names if counts["test_used"][name] == 0),
        near_images=near_images(prepared.folds[task.fold]) if task.split == "images" and prepared.folds else (),
        leaks=inside > 0,
    )


def _distance(mask: NDArray[np.bool_]) -> NDArray[np.int32]:
    """[H, W] chessboard distance to the nearest True pixel."""
    from scipy.ndimage import distance_transform_cdt

    return np.asarray(distance_transform_cdt(~mask, metric="chessboard"), dtype=np.int32)


def _class_counts(prepared: PreparedDataset, task: Task) -> dict[str, dict[str, int]]:
    names = prepared.facts.class_names
    labels = np.concatenate([image.labels_HW.reshape(-1) for image in prepared.images])

    def count(chosen: NDArray[np.int16]) -> dict[str, int]:
        found = np.bincount(chosen[chosen != UNLABELLED], minlength=len(names))
        return {name: int(number) for name, number in zip(names, found, strict=True)}

    result = {}
    if task.split != "random":
        sides = sides_of(prepared, split=task.split, fold=task.fold)
        flat = np.concatenate([side.reshape(-1) for side in sides.side_maps])
        for side, name in enumerate(SIDE_NAMES[: TEST + 1]):
            result[f"{name}_side"] = count(labels[flat == side])
    used = zip(SIDE_NAMES, (task.train_labels, task.validation_labels, task.test_labels), strict=True)
    result |= {f"{name}_used": count(np.concatenate([image.reshape(-1) for image in maps])) for name, maps in used}
    return result
