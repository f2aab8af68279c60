"""What the three WHU-Hi scenes share: fields seen from a drone, a few centimetres or decimetres a pixel."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, UNCHECKED, read_scene
from orchestrator.plan.facts import DatasetFacts, SourceFile

BLOCKS = BlockRule(side_px=24, buffer_px=8)
PAGE = "http://rsidea.whu.edu.cn/resource_WHUHi_sharing.htm"


def facts_of(
    place: str,
    *,
    title: str,
    num_bands: int,
    class_names: tuple[str, ...],
    region: str,
    image_size_px: tuple[int, int],
    labelled_pixels: int,
) -> DatasetFacts:
    """The datasheet of one scene; `place` as its files write it, for example HanChuan."""
    folder = f"remote/{_name(place)}"
    return DatasetFacts(
        name=_name(place),
        title=title,
        num_bands=num_bands,
        wavelengths_nm=None,
        wavelengths_provenance=(
            f"The files hold no wavelengths. The data set's page says: {num_bands} bands from 400 to 1000 nm."
        ),
        # The page says calibrated to radiance, but neither unit nor scale of the numbers in the files: raw.
        quantity="raw",
        class_names=class_names,
        class_ids=tuple(range(1, len(class_names) + 1)),
        domain="remote",
        sensor="Headwall Nano-Hyperspec",
        region=region,
        task="scene",
        image_size_px=image_size_px,
        labelled_pixels=labelled_pixels,
        split="block",
        files=tuple(SourceFile(path=f"{folder}/{file}") for file in _files(place)),
        citation=(
            "Zhong et al.: WHU-Hi: UAV-borne hyperspectral with high spatial resolution (H2) benchmark datasets and "
            "classifier for precise crop identification. Remote Sensing of Environment 250, 2020. "
            "doi:10.1016/j.rse.2020.112012"
        ),
        licence="not established; see the data set's page",
        notes=(NOT_VALIDATED, UNCHECKED),
    )


def remedy_of(place: str) -> str:
    """How to get the files of one scene."""
    cube, labels = _files(place)
    return f"get {cube} and {labels} from {PAGE} and put them into remote/{_name(place)} below the data root"


def read_place(facts: DatasetFacts, folder: Path, place: str) -> list[RawImage]:
    """The one scene.

    Raises:
        DataError: see `read_scene`.
    """
    return read_scene(facts, folder, cube_variable=f"WHU_Hi_{place}", labels_variable=f"WHU_Hi_{place}_gt")


def _name(place: str) -> str:
    return f"whu_hi_{place.lower()}"


def _files(place: str) -> tuple[str, str]:
    return f"WHU_Hi_{place}.mat", f"WHU_Hi_{place}_gt.mat"
