"""How much each band of a sensor is red, green and blue. Pure: used at plan time."""

from __future__ import annotations

import math
from collections.abc import Sequence

from strategies._checks import StrategyError
from strategies._rgb import RED_GREEN_BLUE_NM

RESPONSE_SPREAD_NM = 35.0
"""Standard deviation of the Gaussian response of a colour; about 80 nm wide at half its height, like a camera's."""
FARTHEST = 3.0
"""A colour without a band within so many standard deviations is not seen."""


def sees_colours(wavelengths_nm: Sequence[float] | None) -> bool:
    """Whether red, green and blue each have a band."""
    return wavelengths_nm is not None and all(
        min(abs(w - colour) for w in wavelengths_nm) <= FARTHEST * RESPONSE_SPREAD_NM for colour in RED_GREEN_BLUE_NM
    )


def rgb_responses(wavelengths_nm: Sequence[float] | None, *, wanted_by: str) -> list[list[float]]:
    """The weights of all bands in red, green and blue `[3][C]`; each colour's sum is 1.

    Args:
        wavelengths_nm: band centres.
        wanted_by: named in the error.

    Raises:
        StrategyError: no wavelengths, or a colour that no band comes near.
    """
    if wavelengths_nm is None:
        raise StrategyError(
            f"{wanted_by} weighs bands by their wavelength, and this data set's are not known; allowed: input pca3, "
            "projection or inflation; set input"
        )
    if not sees_colours(wavelengths_nm):
        raise StrategyError(
            f"{wanted_by} needs bands near {', '.join(f'{w:g}' for w in RED_GREEN_BLUE_NM)} nm (within "
            f"{FARTHEST * RESPONSE_SPREAD_NM:g}), these are {min(wavelengths_nm):g} to {max(wavelengths_nm):g}; "
            "allowed: input pca3, projection or inflation; set input"
        )
    rows = []
    for colour in RED_GREEN_BLUE_NM:
        heights = [math.exp(-(((w - colour) / RESPONSE_SPREAD_NM) ** 2) / 2) for w in wavelengths_nm]
        rows.append([height / sum(heights) for height in heights])
    return rows


def cyclic_responses(num_bands: int) -> list[list[float]]:
    """Bands as red, green, blue, red, ... whatever they are, `[3][C]`: what timm makes of `in_chans`.

    timm repeats the three kernels over the bands and multiplies them by 3 / C.
    """
    return [[3 / num_bands if band % 3 == colour else 0.0 for band in range(num_bands)] for colour in range(3)]
