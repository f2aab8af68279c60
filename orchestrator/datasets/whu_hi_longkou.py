"""WHU-Hi-LongKou: fields seen from a drone, a few centimetres or decimetres a pixel."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import RawImage
from orchestrator.datasets._whu_hi import BLOCKS as BLOCKS
from orchestrator.datasets._whu_hi import facts_of, read_place, remedy_of

PLACE = "LongKou"
FACTS = facts_of(
    PLACE,
    title="WHU-Hi-LongKou, Headwall Nano-Hyperspec, 9 crops and surfaces",
    num_bands=270,
    class_names=(
        "corn",
        "cotton",
        "sesame",
        "broad-leaf-soybean",
        "narrow-leaf-soybean",
        "rice",
        "water",
        "roads-and-houses",
        "mixed-weed",
    ),
    region="LongKou, Hubei, China",
    image_size_px=(550, 400),
    labelled_pixels=204_542,
)
REMEDY = remedy_of(PLACE)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [550, 400, 270], labels [550, 400]."""
    return read_place(FACTS, folder, PLACE)
