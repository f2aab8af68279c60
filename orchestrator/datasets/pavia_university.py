"""Pavia University: an airborne ROSIS scene of a campus in northern Italy, 1.3 m a pixel."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, UNCHECKED, basque_file, read_scene
from orchestrator.plan.facts import DatasetFacts

FACTS = DatasetFacts(
    name="pavia_university",
    title="Pavia University, ROSIS, 9 classes of a campus",
    num_bands=103,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths. The sensor is described as 430 to 860 nm; of its 115 bands the 103 kept ones "
        "are not listed."
    ),
    # The scene's page names no unit and no scale of the numbers in the files, so they count as raw.
    quantity="raw",
    class_names=(
        "asphalt",
        "meadows",
        "gravel",
        "trees",
        "painted-metal-sheets",
        "bare-soil",
        "bitumen",
        "self-blocking-bricks",
        "shadows",
    ),
    class_ids=tuple(range(1, 10)),
    domain="remote",
    sensor="ROSIS-3",
    region="Pavia, Italy",
    task="scene",
    image_size_px=(610, 340),
    labelled_pixels=42_776,
    split="block",
    files=(
        basque_file("remote/pavia_university/PaviaU.mat", "e/ee/PaviaU.mat"),
        basque_file("remote/pavia_university/PaviaU_gt.mat", "5/50/PaviaU_gt.mat"),
    ),
    citation=(
        "P. Gamba, Telecommunications and Remote Sensing Laboratory, University of Pavia; distributed by the "
        "Computational Intelligence Group, University of the Basque Country"
    ),
    licence="none stated; attribute",
    notes=(NOT_VALIDATED, UNCHECKED),
)

BLOCKS = BlockRule(side_px=20, buffer_px=8)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [610, 340, 103], labels [610, 340]."""
    return read_scene(FACTS, folder, cube_variable="paviaU", labels_variable="paviaU_gt")
