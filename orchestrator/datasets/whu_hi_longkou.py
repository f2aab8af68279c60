"""WHU-Hi-LongKou: fields seen from a drone, a few centimetres or decimetres a pixel."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, UNCHECKED, read_scene
from orchestrator.plan.facts import DatasetFacts, SourceFile

FACTS = DatasetFacts(
    name="whu_hi_longkou",
    title="WHU-Hi-LongKou, Headwall Nano-Hyperspec, 9 crops and surfaces",
    num_bands=270,
    wavelengths_nm=None,
    wavelengths_provenance="The files hold no wavelengths. The data set's page says: 270 bands from 400 to 1000 nm.",
    # The page says calibrated to radiance, but neither unit nor scale of the numbers in the files: raw.
    quantity="raw",
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
    class_ids=tuple(range(1, 10)),
    domain="remote",
    sensor="Headwall Nano-Hyperspec",
    region="LongKou, Hubei, China",
    task="scene",
    image_size_px=(550, 400),
    labelled_pixels=204_542,
    split="block",
    files=(
        SourceFile(path="remote/whu_hi_longkou/WHU_Hi_LongKou.mat"),
        SourceFile(path="remote/whu_hi_longkou/WHU_Hi_LongKou_gt.mat"),
    ),
    citation=(
        "Zhong et al.: WHU-Hi: UAV-borne hyperspectral with high spatial resolution (H2) benchmark datasets and "
        "classifier for precise crop identification. Remote Sensing of Environment 250, 2020. "
        "doi:10.1016/j.rse.2020.112012"
    ),
    licence="not established; see the data set's page",
    notes=(NOT_VALIDATED, UNCHECKED),
)

BLOCKS = BlockRule(side_px=24, buffer_px=8)
REMEDY = (
    "get WHU_Hi_LongKou.mat and WHU_Hi_LongKou_gt.mat from http://rsidea.whu.edu.cn/resource_WHUHi_sharing.htm "
    "and put them into remote/whu_hi_longkou below the data root"
)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [550, 400, 270], labels [550, 400]."""
    return read_scene(FACTS, folder, cube_variable="WHU_Hi_LongKou", labels_variable="WHU_Hi_LongKou_gt")
