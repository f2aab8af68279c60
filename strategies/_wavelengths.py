"""The wavelengths that a wavelength-conditioned model is told, and the control that tells it wrong ones."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Literal

Wavelengths = Literal["true", "shuffled"]
"""Type of the field `wavelengths`: what the model is told. shuffled: the same band centres, given to other bands."""

SEED = 20240


def shuffled(wavelengths_nm: Sequence[float]) -> tuple[float, ...]:
    """The same band centres in another fixed order: the same for every run on a data set.

    A model that really uses its bands' wavelengths must lose by it; one that gains as much as with the true ones has
    not gained from them. The order is drawn with a fixed seed from the number of bands alone; every band gets the
    centre of another one.
    """
    count = len(wavelengths_nm)
    order = list(range(count))
    random.Random(SEED + count).shuffle(order)
    # bands that stayed where they were are moved along among themselves; one alone changes places with its neighbour
    kept = [place for place in range(count) if order[place] == place]
    if len(kept) == 1 and count > 1:
        kept.append((kept[0] + 1) % count)
    moved = [order[place] for place in kept]
    for place, source in zip(kept, moved[1:] + moved[:1], strict=True):
        order[place] = source
    return tuple(float(wavelengths_nm[source]) for source in order)


def told(wavelengths_nm: Sequence[float], wavelengths: Wavelengths) -> tuple[float, ...]:
    """What a model with the field `wavelengths` is told about its bands."""
    return shuffled(wavelengths_nm) if wavelengths == "shuffled" else tuple(float(centre) for centre in wavelengths_nm)


def spacings_nm(wavelengths_nm: Sequence[float]) -> tuple[float, ...]:
    """Distance of each band centre to its neighbours in the spectrum, in nm: what stands in for an unknown bandwidth.

    The mean of the distances to the next lower and the next higher centre, or the one there is; bands can be in any
    order. At least 1 nm, also where two bands have the same centre, and for a single band.
    """
    centres = sorted(set(wavelengths_nm))
    gaps = [high - low for low, high in zip(centres, centres[1:], strict=False)]
    found = {}
    for place, centre in enumerate(centres):
        beside = [*gaps[max(place - 1, 0) : place], *gaps[place : place + 1]]
        found[centre] = max(sum(beside) / len(beside), 1.0) if beside else 1.0
    return tuple(found[centre] for centre in wavelengths_nm)


def ascending(num_bands: int, wavelengths_nm: Sequence[float] | None) -> list[int]:
    """Bands by ascending wavelength, as they are where that is unknown: neighbours in a cube need not be neighbours."""
    order = list(range(num_bands))
    return order if wavelengths_nm is None else sorted(order, key=wavelengths_nm.__getitem__)
