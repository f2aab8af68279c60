"""Sizes of the feature maps that a patch-based backbone gives, without building it."""

from __future__ import annotations


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
