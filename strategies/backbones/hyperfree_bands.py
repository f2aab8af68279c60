"""Which band of a sensor meets which weights of HyperFree's dictionary. Imports no torch: plans ask for it too.

The dictionary holds the weights of a patch embedding for single wavelengths (points: bands of multispectral sensors)
and for every tenth nanometre (blocks). A band that no entry is near to is not looked at.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import chain

# fmt: off
POINTS_NM = (
    400, 412.5, 429.5, 443, 455, 467.5, 473.375, 481.25, 488.25, 500, 520, 531, 536, 545, 550.5, 561.25, 564.75, 565.5,
    575, 580, 596, 605, 610, 612, 626, 627.5, 630, 635, 640, 645, 650, 655, 656, 660, 664.5, 665, 667, 671.25, 677.5,
    686, 700, 705, 710, 716, 725, 730, 740, 748.5, 760, 764.25, 776, 783, 790, 808, 820, 825, 830, 835.3125, 842, 850,
    858.5, 865, 866, 869.5, 880, 896, 905, 910, 926, 938, 945, 950, 959, 1240, 1375, 1575, 1575.5, 1610, 1640, 1650,
    2050.25, 2130, 2195, 2217.5, 2500,
)
# fmt: on
"""Wavelengths of the point weights, in the order of the published tensor."""
BLOCKS_NM = tuple(range(400, 2501, 10))
"""Wavelengths of the block weights."""
TOLERANCE_NM = 10.0
HYPERSPECTRAL_BANDS = 20
"""With fewer bands a sensor counts as multispectral, and points alone are matched."""


@dataclass(frozen=True)
class BandMatch:
    """Pairs (band, entry of the dictionary); a band can meet several entries."""

    points: tuple[tuple[int, int], ...]
    blocks: tuple[tuple[int, int], ...]

    @property
    def bands(self) -> tuple[int, ...]:
        """The bands that are looked at, each once, ascending."""
        return tuple(sorted({band for band, _ in chain(self.points, self.blocks)}))


def match_bands(wavelengths_nm: Sequence[float], range_nm: tuple[float, float]) -> BandMatch:
    """Match bands as the authors' code does in its test mode: no band is drawn at random.

    Every entry takes the first band, in the order of the cube, that is at most 10 nm away. Of the blocks only those
    count whose band no point has taken.

    Args:
        wavelengths_nm: band centres in nm, any order.
        range_nm: bands outside of it were not seen in pretraining and are left out.
    """
    low, high = range_nm
    seen = [(band, centre) for band, centre in enumerate(wavelengths_nm) if low <= centre <= high]
    points = _first_near(seen, POINTS_NM)
    if len(wavelengths_nm) < HYPERSPECTRAL_BANDS:
        return BandMatch(points, ())
    taken = {band for band, _ in points}
    return BandMatch(points, tuple(pair for pair in _first_near(seen, BLOCKS_NM) if pair[0] not in taken))


def _first_near(bands: Sequence[tuple[int, float]], entries_nm: Sequence[float]) -> tuple[tuple[int, int], ...]:
    found = []
    for entry, wanted in enumerate(entries_nm):
        band = next((band for band, centre in bands if abs(wanted - centre) <= TOLERANCE_NM), None)
        if band is not None:
            found.append((band, entry))
    return tuple(found)
