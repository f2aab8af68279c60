"""Sizes of the feature maps that a patch-based backbone gives, without building it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from strategies._foundation import FoundationModel


def map_sides(height_px: int, width_px: int, *, patch_px: int, enlarge: int) -> tuple[int, int]:
    """Height and width of a backbone's map for an image that `PaddedModel` pads and enlarges.

    Args:
        height_px: of the image.
        width_px: of the image.
        patch_px: side of a patch, and what the input is padded to a multiple of.
        enlarge: the field of `FoundationModel`.
    """
    step_px = patch_px // enlarge if patch_px % enlarge == 0 else patch_px
    return (
        -(-height_px // step_px) * step_px * enlarge // patch_px,
        -(-width_px // step_px) * step_px * enlarge // patch_px,
    )


def patch_levels(
    strategy: FoundationModel, height_px: int, width_px: int, *, patch_px: int, channels: Sequence[int]
) -> tuple[tuple[int, int, int], ...] | None:
    """`Strategy.cached_features` of a backbone whose levels all have one cell a patch; None where it is not frozen."""
    if strategy.regime != "frozen":
        return None
    sides = map_sides(height_px, width_px, patch_px=patch_px, enlarge=strategy.enlarge)
    return tuple((count, *sides) for count in channels)
