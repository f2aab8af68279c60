"""Botswana: a spaceborne Hyperion scene of the Okavango Delta, 30 m a pixel, with few labelled pixels."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, UNCHECKED, basque_file, read_scene
from orchestrator.plan.facts import DatasetFacts

FACTS = DatasetFacts(
    name="botswana",
    title="Botswana, Hyperion 2001, 14 classes of a river delta",
    num_bands=145,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths. The scene's page (University of the Basque Country) says: Hyperion, 242 bands "
        "from 400 to 2500 nm in steps of 10 nm, of which 10-55, 82-97, 102-119, 134-164 and 187-220 are kept."
    ),
    # The scene's page names no unit and no scale of the numbers in the files, so they count as raw.
    quantity="raw",
    class_names=(
        "water",
        "hippo-grass",
        "floodplain-grasses-1",
        "floodplain-grasses-2",
        "reeds",
        "riparian",
        "firescar",
        "island-interior",
        "acacia-woodlands",
        "acacia-shrublands",
        "acacia-grasslands",
        "short-mopane",
        "mixed-mopane",
        "exposed-soils",
    ),
    class_ids=tuple(range(1, 15)),
    domain="remote",
    sensor="Hyperion",
    region="Okavango Delta, Botswana",
    task="scene",
    image_size_px=(1476, 256),
    labelled_pixels=3_248,
    split="block",
    files=(
        basque_file("remote/botswana/Botswana.mat", "7/72/Botswana.mat"),
        basque_file("remote/botswana/Botswana_gt.mat", "5/58/Botswana_gt.mat"),
    ),
    citation=(
        "NASA EO-1 Hyperion; preprocessed at the Center for Space Research, University of Texas at Austin; "
        "distributed by the Computational Intelligence Group, University of the Basque Country"
    ),
    licence="none stated (NASA EO-1); attribute",
    notes=(NOT_VALIDATED, UNCHECKED),
)

BLOCKS = BlockRule(side_px=16, buffer_px=4)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [1476, 256, 145], labels [1476, 256]."""
    return read_scene(FACTS, folder, cube_variable="Botswana", labels_variable="Botswana_gt")
