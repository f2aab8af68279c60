"""WHU-Hi-HongHu: fields seen from a drone, a few centimetres or decimetres a pixel."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import RawImage
from orchestrator.datasets._whu_hi import BLOCKS as BLOCKS
from orchestrator.datasets._whu_hi import facts_of, read_place, remedy_of

PLACE = "HongHu"
FACTS = facts_of(
    PLACE,
    title="WHU-Hi-HongHu, Headwall Nano-Hyperspec, 22 crops and surfaces",
    num_bands=270,
    class_names=(
        "red-roof",
        "road",
        "bare-soil",
        "cotton",
        "cotton-firewood",
        "rape",
        "chinese-cabbage",
        "pakchoi",
        "cabbage",
        "tuber-mustard",
        "brassica-parachinensis",
        "brassica-chinensis",
        "small-brassica-chinensis",
        "lactuca-sativa",
        "celtuce",
        "film-covered-lettuce",
        "romaine-lettuce",
        "carrot",
        "white-radish",
        "garlic-sprout",
        "broad-bean",
        "tree",
    ),
    region="HongHu, Hubei, China",
    image_size_px=(940, 475),
    labelled_pixels=386_693,
)
REMEDY = remedy_of(PLACE)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [940, 475, 270], labels [940, 475]."""
    return read_place(FACTS, folder, PLACE)
