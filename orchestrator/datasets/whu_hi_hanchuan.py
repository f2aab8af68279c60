"""WHU-Hi-HanChuan: fields seen from a drone, a few centimetres or decimetres a pixel."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import RawImage
from orchestrator.datasets._whu_hi import BLOCKS as BLOCKS
from orchestrator.datasets._whu_hi import facts_of, read_place, remedy_of

PLACE = "HanChuan"
FACTS = facts_of(
    PLACE,
    title="WHU-Hi-HanChuan, Headwall Nano-Hyperspec, 16 crops and surfaces",
    num_bands=274,
    class_names=(
        "strawberry",
        "cowpea",
        "soybean",
        "sorghum",
        "water-spinach",
        "watermelon",
        "greens",
        "trees",
        "grass",
        "red-roof",
        "gray-roof",
        "plastic",
        "bare-soil",
        "road",
        "bright-object",
        "water",
    ),
    region="HanChuan, Hubei, China",
    image_size_px=(1217, 303),
    labelled_pixels=257_530,
)
REMEDY = remedy_of(PLACE)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [1217, 303, 274], labels [1217, 303]."""
    return read_place(FACTS, folder, PLACE)
