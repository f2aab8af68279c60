"""Label budgets of whole images, drawn image by image: a large set is never laid out pixel by pixel in memory."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import TEST, TRAIN, UNLABELLED, VALIDATION
from orchestrator.datasets._hs3_splits import permutation
from orchestrator.datasets._sides import Sides
from orchestrator.datasets.store import PreparedDataset
from orchestrator.plan.epochs import share_of_images

Maps = tuple[NDArray[np.int16], ...]


def draw_whole_images(
    prepared: PreparedDataset, sides: Sides, fraction: float, selection: str, seed: int
) -> tuple[Maps, Maps, Maps]:
    """Label maps of train, validation and test: an image is used with all its labels, or not at all.

    As HS3-Bench draws them: with its seed, and N images sorted by name, the prefix of PyTorch's permutation of N, of
    which round(fraction x N) are taken. Larger fractions hold the images of smaller ones.

    Args:
        prepared: an image set.
        sides: of the split "images".
        fraction: of the training images, and of the validation images where selection is validation_matched.
        selection: validation_matched, validation_full or none.
        seed: fixes which images.
    """
    # All pixels of an image that hold data are on one side; the others are on none, which is the smallest number.
    side_of = [int(side_HW.max()) for side_HW in sides.side_maps]
    images_of = {
        side: sorted((i for i, own in enumerate(side_of) if own == side), key=lambda i: sides.unit_names[i])
        for side in (TRAIN, VALIDATION, TEST)
    }

    def first(images: list[int]) -> list[int]:
        if not images:
            return []
        order = permutation(len(images), seed)
        return [images[index] for index in order[: share_of_images(fraction, len(images))]]

    validation = images_of[VALIDATION] if selection == "validation_full" else first(images_of[VALIDATION])
    return (
        _maps(prepared, first(images_of[TRAIN])),
        _maps(prepared, [] if selection == "none" else validation),
        _maps(prepared, images_of[TEST]),
    )


def _maps(prepared: PreparedDataset, chosen: Iterable[int]) -> Maps:
    """The labels of chosen images as they lie in the store, and of the others one number in the shape of a map."""
    wanted = set(chosen)
    maps = []
    for index, image in enumerate(prepared.images):
        if index not in wanted:
            maps.append(np.broadcast_to(np.int16(UNLABELLED), image.labels_HW.shape))
        elif image.valid_HW.all():
            maps.append(image.labels_HW)
        else:
            maps.append(np.where(image.valid_HW, image.labels_HW, np.int16(UNLABELLED)))
    return tuple(maps)
