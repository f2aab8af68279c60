"""Samson: a small scene of spectral unmixing, 401 to 889 nm. Its labels are derived, not drawn by people."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage, github_file
from orchestrator.plan.facts import DatasetFacts, SourceFile

REPOSITORY = "michalhuras/Unsupervised-hyperspectral-image-classification"
COMMIT = "2ff9fa10d6679cbb17b06b4139f26b5f01b520c8"

CUBE = SourceFile(
    path="remote/samson/samson_1.mat",
    sha256="1ebacaf7cd32bfc31c0ee3fd56c63a7f29a434893a8b45705fb59cd8a0c8beb6",
    url=github_file(REPOSITORY, COMMIT, "data/raw/Samson/samson_1.mat"),
)
ABUNDANCES = SourceFile(
    path="remote/samson/end3.mat",
    sha256="ce768182ce5292390180f827ff5769112cf3d299f4e64ab43e950a310b7ec9fa",
    url=github_file(REPOSITORY, COMMIT, "data/raw/Samson/GroundTruth/end3.mat"),
)

FACTS = DatasetFacts(
    name="samson",
    title="Samson, 3 materials, labels derived from unmixing",
    num_bands=156,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths. The scene is described as 156 bands from 401 to 889 nm, about 3.13 nm wide; "
        "the centre of each band is not recorded."
    ),
    # The numbers were brought to 0..1 by whoever published the file; by which factor is not recorded.
    quantity="raw",
    class_names=("rock", "tree", "water"),
    class_ids=(1, 2, 3),
    domain="remote",
    sensor="SAMSON",
    labels="derived",
    task="scene",
    image_size_px=(95, 95),
    labelled_pixels=9025,
    split="block",
    files=(CUBE, ABUNDANCES),
    citation="Zhu et al.: Structured Sparse Method for Hyperspectral Unmixing. ISPRS Journal 88, 2014",
    licence="none stated (public unmixing benchmark); attribute",
)

BLOCKS = BlockRule(side_px=10, buffer_px=4)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [95, 95, 156] float64; label = endmember with the largest abundance, from 1."""
    import numpy as np

    from orchestrator.datasets._formats import read_array

    height, width = FACTS.image_size_px
    # Both arrays list pixels column by column, as MATLAB does.
    spectra = read_array(folder / CUBE.path, variable="V").array
    abundances = read_array(folder / ABUNDANCES.path, variable="A").array
    cube = spectra.T.reshape(width, height, -1).transpose(1, 0, 2)
    labels = abundances.argmax(axis=0).reshape(width, height).T + 1
    return [RawImage(name="samson", cube=cube, labels=labels, valid=np.ones((height, width), dtype=bool))]
