"""Kennedy Space Center: an AVIRIS scene of wetlands in Florida, 18 m a pixel."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, UNCHECKED, basque_file, read_scene
from orchestrator.plan.facts import DatasetFacts

FACTS = DatasetFacts(
    name="ksc",
    title="Kennedy Space Center, AVIRIS 1996, 13 classes of wetlands",
    num_bands=176,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths. The scene's page (University of the Basque Country) says: AVIRIS, 224 bands "
        "of 10 nm from 400 to 2500 nm, of which 176 are kept; it does not list them."
    ),
    # The scene's page names no unit and no scale of the numbers in the files, so they count as raw.
    quantity="raw",
    class_names=(
        "scrub",
        "willow-swamp",
        "cabbage-palm-hammock",
        "cabbage-palm-oak-hammock",
        "slash-pine",
        "oak-broadleaf-hammock",
        "hardwood-swamp",
        "graminoid-marsh",
        "spartina-marsh",
        "cattail-marsh",
        "salt-marsh",
        "mud-flats",
        "water",
    ),
    class_ids=tuple(range(1, 14)),
    domain="remote",
    sensor="AVIRIS",
    region="Kennedy Space Center, Florida, USA",
    task="scene",
    image_size_px=(512, 614),
    labelled_pixels=5_211,
    split="block",
    files=(
        basque_file("remote/ksc/KSC.mat", "2/26/KSC.mat"),
        basque_file("remote/ksc/KSC_gt.mat", "a/a6/KSC_gt.mat"),
    ),
    citation=(
        "NASA/JPL AVIRIS; labelled at the Center for Space Research, University of Texas at Austin; distributed by "
        "the Computational Intelligence Group, University of the Basque Country"
    ),
    licence="none stated (NASA/JPL AVIRIS); attribute",
    notes=(NOT_VALIDATED, UNCHECKED),
)

BLOCKS = BlockRule(side_px=16, buffer_px=4)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [512, 614, 176], labels [512, 614]."""
    return read_scene(FACTS, folder, cube_variable="KSC", labels_variable="KSC_gt")
