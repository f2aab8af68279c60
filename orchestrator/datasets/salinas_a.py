"""Salinas-A: a corner of the AVIRIS scene of vegetable fields in the Salinas Valley."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage, github_file
from orchestrator.plan.facts import DatasetFacts, SourceFile

REPOSITORY = "michalhuras/Unsupervised-hyperspectral-image-classification"
COMMIT = "2ff9fa10d6679cbb17b06b4139f26b5f01b520c8"

CUBE = SourceFile(
    path="remote/salinas_a/SalinasA_corrected.mat",
    sha256="d75684ed3ab71a1024cee0f9db9061f50a3523a92ff5edfbbb1eed976b9f1721",
    url=github_file(REPOSITORY, COMMIT, "data/raw/SalinasA/SalinasA_corrected.mat"),
)
LABELS = SourceFile(
    path="remote/salinas_a/SalinasA_gt.mat",
    sha256="17814c1d3296c0e29b27f320f2c4174d2a68adb87e376abe78f02923e2c2e454",
    url=github_file(REPOSITORY, COMMIT, "data/raw/SalinasA/SalinasA_gt.mat"),
)

FACTS = DatasetFacts(
    name="salinas_a",
    title="Salinas-A, AVIRIS 1998, 6 classes of vegetables",
    num_bands=204,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths. The scene's page (University of the Basque Country) says: AVIRIS, 224 bands "
        "from about 400 to 2500 nm; the corrected cube lacks the 20 water absorption bands 108-112, 154-167 and 224 "
        "(counted from 1)."
    ),
    # The scene's page calls it at-sensor radiance but gives no unit and no scale, so the numbers count as raw.
    quantity="raw",
    class_names=(
        "brocoli-green-weeds-1",
        "corn-senesced-green-weeds",
        "lettuce-romaine-4wk",
        "lettuce-romaine-5wk",
        "lettuce-romaine-6wk",
        "lettuce-romaine-7wk",
    ),
    class_ids=(1, 10, 11, 12, 13, 14),
    domain="remote",
    sensor="AVIRIS",
    region="Salinas Valley, California, USA",
    scene="salinas",
    task="scene",
    image_size_px=(83, 86),
    labelled_pixels=5348,
    split="block",
    files=(CUBE, LABELS),
    citation="NASA/JPL AVIRIS; distributed by the Computational Intelligence Group, University of the Basque Country",
    licence="none stated (NASA/JPL AVIRIS); attribute",
)

BLOCKS = BlockRule(side_px=8, buffer_px=4)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [83, 86, 204] int16, labels [83, 86]."""
    import numpy as np

    from orchestrator.datasets._formats import read_array

    cube = read_array(folder / CUBE.path, variable="salinasA_corrected").array
    labels = read_array(folder / LABELS.path, variable="salinasA_gt").array
    return [RawImage(name="salinas_a", cube=cube, labels=labels, valid=np.ones(cube.shape[:2], dtype=bool))]
