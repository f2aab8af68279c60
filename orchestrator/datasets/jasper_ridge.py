"""Jasper Ridge: a small AVIRIS scene of spectral unmixing. Its labels are derived, not drawn by people."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage, github_file
from orchestrator.plan.facts import DatasetFacts, SourceFile

REPOSITORY = "michalhuras/Unsupervised-hyperspectral-image-classification"
COMMIT = "2ff9fa10d6679cbb17b06b4139f26b5f01b520c8"

CUBE = SourceFile(
    path="remote/jasper_ridge/jasperRidge2_R198.mat",
    sha256="0e4118a6452f6044978a8ca3762fb0f791115467904936d463c4e111e56e682e",
    url=github_file(REPOSITORY, COMMIT, "data/raw/JasperRidge/jasperRidge2_R198.mat"),
)
ABUNDANCES = SourceFile(
    path="remote/jasper_ridge/end4.mat",
    sha256="92f5697b43705802b904fd13ba99b6ce65a3d203682864abc3fbec922beec374",
    url=github_file(REPOSITORY, COMMIT, "data/raw/JasperRidge/GroundTruth/end4.mat"),
)

FACTS = DatasetFacts(
    name="jasper_ridge",
    title="Jasper Ridge, AVIRIS, 4 materials, labels derived from unmixing",
    num_bands=198,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths, only which of the 224 AVIRIS bands were kept (variable SlectBands: 4-107, "
        "113-153 and 167-219, counted from 1). The scene is described as 380 to 2500 nm."
    ),
    # The file states maxValue = 5000, a display value; no unit and no scale are given.
    quantity="raw",
    class_names=("tree", "water", "dirt", "road"),
    class_ids=(1, 2, 3, 4),
    domain="remote",
    sensor="AVIRIS",
    region="Jasper Ridge, California, USA",
    labels="derived",
    task="scene",
    image_size_px=(100, 100),
    labelled_pixels=10_000,
    split="block",
    files=(CUBE, ABUNDANCES),
    citation="Zhu et al.: Structured Sparse Method for Hyperspectral Unmixing. ISPRS Journal 88, 2014",
    licence="none stated (public unmixing benchmark, NASA/JPL AVIRIS); attribute",
)

BLOCKS = BlockRule(side_px=10, buffer_px=4)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [100, 100, 198] uint16; label = endmember with the largest abundance, from 1."""
    import numpy as np

    from orchestrator.datasets._formats import read_array

    height, width = FACTS.image_size_px
    # Both arrays list pixels column by column, as MATLAB does.
    spectra = read_array(folder / CUBE.path, variable="Y").array
    abundances = read_array(folder / ABUNDANCES.path, variable="A").array
    cube = spectra.T.reshape(width, height, -1).transpose(1, 0, 2)
    labels = abundances.argmax(axis=0).reshape(width, height).T + 1
    return [RawImage(name="jasper_ridge", cube=cube, labels=labels, valid=np.ones((height, width), dtype=bool))]
