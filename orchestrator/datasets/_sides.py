"""Which pixels of a prepared data set are on which side of a split."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import NO_SIDE, TEST, TRAIN, VALIDATION
from orchestrator.datasets._blocks import BlockLayout
from orchestrator.datasets.store import PreparedDataset
from orchestrator.errors import ConfigError, unknown

Split = Literal["block", "random", "images"]


@dataclass(frozen=True, kw_only=True)
class Sides:
    """Sides of one fold of one split, before any label budget."""

    split: Split
    side_maps: tuple[NDArray[np.int8], ...]
    """[H, W] an image: 0 train, 1 validation, 2 test, -1 buffer or nodata; all 0 where pixels are drawn at random."""
    unit_maps: tuple[NDArray[np.int32], ...]
    """[H, W] an image: index of the block or image, over the whole data set."""
    unit_names: tuple[str, ...]
    buffer_px: int
    """0 where the sides need none (images) or have none (random)."""


def resolve_split(prepared: PreparedDataset, split: str) -> Split:
    """The split that a grid's setting means for this data set.

    Raises:
        ConfigError: not a split, or one that does not fit a scene or an image set.
    """
    facts = prepared.facts
    allowed = ("block", "random") if facts.task == "scene" else ("images", "random")
    if split not in ("default", "block", "random", "images"):
        raise unknown("split", split, ("default", *allowed))
    chosen = facts.split if split == "default" else split
    if chosen not in allowed:
        raise ConfigError(
            f"split {chosen!r} does not fit dataset {facts.name!r}, which is "
            f"{'a single scene' if facts.task == 'scene' else 'a set of images'}; "
            f"allowed: default, {', '.join(allowed)}"
        )
    return chosen  # type: ignore[return-value]


def sides_of(prepared: PreparedDataset, *, split: str, fold: int) -> Sides:
    """Sides of a fold.

    Raises:
        ConfigError: unknown split, or a fold that the data set does not have.
    """
    chosen = resolve_split(prepared, split)
    folds = prepared.facts.folds
    if not 0 <= fold < folds:
        raise ConfigError(f"fold {fold} of dataset {prepared.facts.name!r}; allowed: 0 to {folds - 1}")
    shapes = [image.valid_HW.shape for image in prepared.images]
    if prepared.layout is not None:
        unit_maps: tuple[NDArray[np.int32], ...] = (prepared.layout.block_map,)
        unit_names = prepared.layout.names()
    else:
        # One number in the shape of a map: a large set has as many pixels as would fill the memory.
        unit_maps = tuple(np.broadcast_to(np.int32(index), shape) for index, shape in enumerate(shapes))
        unit_names = tuple(image.name for image in prepared.images)
    if chosen == "random":
        side_maps: Sequence[NDArray[np.int8]] = [np.broadcast_to(np.int8(TRAIN), shape) for shape in shapes]
    elif chosen == "block":
        side_maps = [_layout(prepared).side_map]
    else:
        plan = prepared.folds[fold]
        sides = {
            **dict.fromkeys(plan.train, TRAIN),
            **dict.fromkeys(plan.validation, VALIDATION),
            **dict.fromkeys(plan.test, TEST),
        }
        side_maps = [
            np.broadcast_to(np.int8(sides.get(image.name, NO_SIDE)), shape)
            for image, shape in zip(prepared.images, shapes, strict=True)
        ]
    masked = tuple(
        sides if image.valid_HW.all() else np.where(image.valid_HW, sides, np.int8(NO_SIDE))
        for image, sides in zip(prepared.images, side_maps, strict=True)
    )
    buffer_px = _layout(prepared).buffer_px if chosen == "block" else 0
    return Sides(split=chosen, side_maps=masked, unit_maps=unit_maps, unit_names=unit_names, buffer_px=buffer_px)


def is_train(side_HW: NDArray[np.int8]) -> NDArray[np.bool_]:
    """Which pixels are on the training side."""
    if side_HW.strides == (0, 0):  # one number in the shape of a map
        return np.broadcast_to(side_HW[0, 0] == TRAIN, side_HW.shape)
    return side_HW == TRAIN


def _layout(prepared: PreparedDataset) -> BlockLayout:
    if prepared.layout is None:
        raise ConfigError(f"dataset {prepared.facts.name!r} has no blocks; use split: images")
    return prepared.layout
