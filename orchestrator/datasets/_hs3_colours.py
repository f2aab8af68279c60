"""Colours of the classes of the three HS3-Bench data sets in pictures of label maps.

HyperspectralCity's ids are the train ids of Cityscapes, and so are its colours. No source at hand states colours for
HyKo2 and HSI-Drive: theirs are our choice, which gives what means the same the same colour in all three.
"""

from __future__ import annotations

# fmt: off
CITYSCAPES = (
    "#804080", "#f423e8", "#464646", "#66669c", "#be9999", "#999999", "#faaa1e", "#dcdc00", "#6b8e23",
    "#98fb98", "#4682b4", "#dc143c", "#ff0000", "#00008e", "#000046", "#003c64", "#005064", "#0000e6", "#770b20",
)
"""Road, sidewalk, building, wall, fence, pole, traffic light, traffic sign, vegetation, terrain, sky, person, rider,
car, truck, bus, train, motorcycle, bicycle."""
# fmt: on

STREET = {
    "road": CITYSCAPES[0],
    "sidewalk": CITYSCAPES[1],
    "building": CITYSCAPES[2],
    "sign": CITYSCAPES[7],
    "vegetation": CITYSCAPES[8],
    "grass": CITYSCAPES[9],
    "sky": CITYSCAPES[10],
    "person": CITYSCAPES[11],
    "vehicle": CITYSCAPES[13],
    # without a counterpart in Cityscapes
    "marking": "#ffd0a0",
    "metal": "#9c6b30",
    "glass": "#40e0d0",
}


def street_colours(*meanings: str) -> tuple[str, ...]:
    """The colours of these meanings, see `STREET`."""
    return tuple(STREET[meaning] for meaning in meanings)
