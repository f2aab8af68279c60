"""Which three bands make a pseudo-RGB picture. Pure: used at plan time."""

from __future__ import annotations

from collections.abc import Sequence

from strategies._checks import StrategyError

RED_GREEN_BLUE_NM = (640.0, 550.0, 460.0)
"""Band centres that a pseudo-RGB picture takes the nearest bands to."""


def choose_rgb(num_bands: int, wavelengths_nm: Sequence[float] | None, rgb_bands: str) -> tuple[int, ...]:
    """Three 0-based bands for red, green and blue; see `make_input`."""
    if rgb_bands:
        parts = [part.strip() for part in rgb_bands.split(",")]
        if len(parts) != 3 or not all(part.isdigit() and int(part) < num_bands for part in parts):
            raise StrategyError(
                f"rgb_bands {rgb_bands!r} does not name three bands; allowed: three numbers from 0 to {num_bands - 1}, "
                "for example '14,7,0'; correct it"
            )
        return tuple(int(part) for part in parts)
    if wavelengths_nm is None:
        raise StrategyError(
            "input 'pseudo_rgb' chooses bands by wavelength, and this data set's are not known; allowed: rgb_bands "
            "with three numbers; set rgb_bands"
        )
    return tuple(
        min(range(num_bands), key=lambda band: abs(wavelengths_nm[band] - wanted)) for wanted in RED_GREEN_BLUE_NM
    )
