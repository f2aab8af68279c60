"""Draws the labelled pixels of one run: a split, a label budget, a selection and a seed give one `Task`.

What is drawn depends on the data set's name, the fold, the sampler and the subset seed only, never on the strategy.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import TEST, TRAIN, UNLABELLED, VALIDATION
from orchestrator.datasets._sampling import Drawing, count_of, held_out, label_maps, sided_shots
from orchestrator.datasets._sides import Sides, Split, is_train, sides_of
from orchestrator.datasets._whole_images import draw_whole_images
from orchestrator.datasets.store import PreparedDataset
from orchestrator.errors import ConfigError, DataError, unknown
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.selection import LEAVE_ONE_SCENE_OUT

SELECTIONS = ("validation_matched", "validation_full", "held_out_shots", "none")


@dataclass(frozen=True, kw_only=True)
class Task:
    """Labels and visible pixels of one run; one map an image, in the order of the prepared images."""

    dataset: str
    split: Split
    fold: int
    label_budget: LabelBudget
    selection: str
    buffer_px: int
    train_labels: tuple[NDArray[np.int16], ...]
    """[H, W] class index of pixels that train, -1 elsewhere."""
    validation_labels: tuple[NDArray[np.int16], ...]
    test_labels: tuple[NDArray[np.int16], ...]
    train_visible: tuple[NDArray[np.bool_], ...]
    """[H, W] pixels whose spectra may be seen in training."""
    test_units: tuple[NDArray[np.int32], ...]
    """[H, W] index of the test block or image a test pixel belongs to, -1 elsewhere."""
    unit_names: tuple[str, ...]
    scored_classes: tuple[int, ...]
    """Classes with test pixels: fixed by split and fold, the same for every budget and seed."""
    classes_trained: int
    """Classes with at least one label that trains."""
    classes_untrained: tuple[int, ...]
    """Scored classes without any: they score 0 and are warned about."""
    train_count: int
    validation_count: int
    test_count: int


def selection_of_run(selection: str, stage: str) -> str:
    """What a run of a stage draws where a cell selects this way.

    With held-out shots the search validates on some of the k labels; the final run trains on all k of them. A trial
    that chooses for other scenes is scored on all validation labels of its own: its own finals never hear of it.
    """
    if stage == "final":
        return "none" if selection in ("held_out_shots", LEAVE_ONE_SCENE_OUT) else selection
    return "validation_full" if selection == LEAVE_ONE_SCENE_OUT else selection


def draw_task(
    prepared: PreparedDataset,
    *,
    split: str,
    fold: int,
    label_budget: LabelBudget,
    selection: str,
    subset_seed: int,
) -> Task:
    """Draw the labels of a run.

    A budget counts validation labels. On sides (block, images) a fraction is taken of the train and of the validation
    side alike; k shots are shared, a fifth of them (rounded up) from the validation side. With split "random" a fifth
    of what is drawn validates.

    Args:
        prepared: the data set.
        split: default (the data set's own), block, random or images.
        fold: 0-based fold of an image set; 0 for a scene.
        label_budget: how many labels may be used.
        selection: where validation labels come from, one of `SELECTIONS`.
        subset_seed: fixes which labels; budgets of the same sampler and seed are nested.

    Raises:
        ConfigError: a setting is unknown, or two settings exclude each other.
        DataError: no label is left to train or to test.
    """
    sides = sides_of(prepared, split=split, fold=fold)
    _check(prepared, sides, label_budget, selection)
    if label_budget.sampler == "whole_images":
        whole = draw_whole_images(prepared, sides, label_budget.value, selection, subset_seed)
        return _task(prepared, sides, fold, label_budget, selection, whole)
    labels = [image.labels_HW for image in prepared.images]
    if sides.split == "random":
        train, validation, test = _draw_random(prepared, sides, label_budget, selection, subset_seed)
    else:
        draw = Drawing(prepared, sides, fold, label_budget.sampler, subset_seed)
        train, validation = _draw_from_sides(draw, label_budget, selection)
        test = draw.side_pixels(TEST)
    maps = [label_maps(labels, chosen) for chosen in (train, validation, test)]
    return _task(prepared, sides, fold, label_budget, selection, maps)


def _check(prepared: PreparedDataset, sides: Sides, budget: LabelBudget, selection: str) -> None:
    if selection not in SELECTIONS:
        raise unknown("selection", selection, SELECTIONS)
    if prepared.facts.labels == "none":
        raise ConfigError(
            f"dataset {prepared.facts.name!r} has no labels: it can be predicted on, not trained on or scored; "
            "use hsfm-sweep data cubes and hsfm-sweep predict"
        )
    k_shot = budget.kind == "k_shot"
    if selection == "held_out_shots" and not (k_shot and budget.value >= 5):
        raise ConfigError(
            f"selection 'held_out_shots' with label budget {budget}; allowed: k-shot with k of at least 5"
        )
    if selection == "validation_matched" and k_shot and budget.value < 2:
        raise ConfigError("selection 'validation_matched' needs at least 2 shots; with 1 shot use selection: none")
    if sides.split == "random" and selection == "validation_full":
        raise ConfigError(
            "selection 'validation_full' needs a validation side, and split 'random' has none; "
            "use split: default or selection: validation_matched"
        )
    if sides.split == "random" and budget.kind == "fraction" and budget.value >= 1:
        raise ConfigError("label budget 1 with split 'random' leaves no pixel to test; use a smaller fraction")
    if budget.sampler == "whole_images" and sides.split != "images":
        raise ConfigError(
            f"sampler 'whole_images' does not fit dataset {prepared.facts.name!r} with split {sides.split!r}; "
            "allowed: stratified_pixels"
        )


def _draw_from_sides(draw: Drawing, budget: LabelBudget, selection: str) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Train and validation pixels where the sides are given."""
    nothing = np.empty(0, dtype=np.int64)
    of_train, of_validation = budget, budget
    if selection == "validation_matched" and budget.kind == "k_shot":
        of_train, of_validation = (
            LabelBudget(kind="k_shot", value=k, sampler=budget.sampler) for k in sided_shots(int(budget.value))
        )
    if selection == "held_out_shots":
        return _split_roles(draw.in_order(TRAIN), budget)
    train = _take(draw, TRAIN, of_train)
    if selection == "none":
        return train, nothing
    if selection == "validation_full":
        return train, draw.side_pixels(VALIDATION)
    return train, _take(draw, VALIDATION, of_validation)


def _take(draw: Drawing, side: int, budget: LabelBudget) -> NDArray[np.int64]:
    return np.concatenate([own[: count_of(budget, own.size)] for own in draw.in_order(side)])


def _split_roles(
    ordered: Sequence[NDArray[np.int64]], budget: LabelBudget, at_most: Sequence[int] | None = None
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Take what the budget allows of each class, and hold a fifth of it out for validation."""
    train, validation = [], []
    for index, own in enumerate(ordered):
        count = count_of(budget, own.size)
        taken = own[: min(count, at_most[index]) if at_most else count]
        for_validation = held_out(taken.size)
        train.append(taken[~for_validation])
        validation.append(taken[for_validation])
    return np.concatenate(train), np.concatenate(validation)


def _draw_random(
    prepared: PreparedDataset, sides: Sides, budget: LabelBudget, selection: str, seed: int
) -> tuple[NDArray[np.int64], NDArray[np.int64], NDArray[np.int64]]:
    """Pixels at random; every labelled pixel that is not drawn is test. Folds play no part."""
    draw = Drawing(prepared, sides, 0, budget.sampler, seed)
    ordered = draw.in_order(TRAIN)
    # One pixel of each class always stays for the test, so that the scored classes never depend on the budget.
    at_most = [max(own.size - 1, 1) for own in ordered]
    train, validation = _split_roles(ordered, budget, at_most)
    if selection == "none":
        train, validation = np.concatenate([train, validation]), validation[:0]
    test = np.setdiff1d(draw.side_pixels(TRAIN), np.concatenate([train, validation]))
    return train, validation, test


def _task(
    prepared: PreparedDataset,
    sides: Sides,
    fold: int,
    budget: LabelBudget,
    selection: str,
    maps: Sequence[tuple[NDArray[np.int16], ...]],
) -> Task:
    train, validation, test = maps
    counts = [_class_counts(side, prepared.facts.num_classes) for side in maps]
    for name, count in (("train", counts[0].sum()), ("test", counts[2].sum())):
        if count == 0:
            raise DataError(
                f"dataset {prepared.facts.name!r}, split {sides.split!r}, fold {fold}: no label to {name} with "
                f"label budget {budget}; choose a larger budget or another split"
            )
    trained, scored = (tuple(np.flatnonzero(counts[side]).tolist()) for side in (0, 2))
    units, unit_names = _test_units(sides, test)
    return Task(
        dataset=prepared.facts.name,
        split=sides.split,
        fold=fold,
        label_budget=budget,
        selection=selection,
        buffer_px=sides.buffer_px,
        train_labels=train,
        validation_labels=validation,
        test_labels=test,
        train_visible=tuple(is_train(side) for side in sides.side_maps),
        test_units=units,
        unit_names=unit_names,
        scored_classes=scored,
        classes_trained=len(trained),
        classes_untrained=tuple(index for index in scored if index not in trained),
        train_count=int(counts[0].sum()),
        validation_count=int(counts[1].sum()),
        test_count=int(counts[2].sum()),
    )


def _class_counts(maps: Sequence[NDArray[np.int16]], classes: int) -> NDArray[np.int64]:
    """Labelled pixels of each class."""
    counts = np.zeros(classes, dtype=np.int64)
    for labels_HW in maps:
        counts += np.bincount(labels_HW[labels_HW != UNLABELLED], minlength=classes)
    return counts


def _test_units(
    sides: Sides, test: tuple[NDArray[np.int16], ...]
) -> tuple[tuple[NDArray[np.int32], ...], tuple[str, ...]]:
    """Number the blocks or images that hold test pixels from 0."""
    found = [np.unique(unit[labels != UNLABELLED]) for unit, labels in zip(sides.unit_maps, test, strict=True)]
    used = np.unique(np.concatenate(found))
    number = np.full(len(sides.unit_names), -1, dtype=np.int32)
    number[used] = np.arange(used.size)
    maps = tuple(
        np.where(labels != UNLABELLED, number[unit], np.int32(-1))
        if own.size
        else np.broadcast_to(np.int32(-1), labels.shape)
        for unit, labels, own in zip(sides.unit_maps, test, found, strict=True)
    )
    return maps, tuple(sides.unit_names[index] for index in used)
