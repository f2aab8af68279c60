"""Indian Pines: the AVIRIS scene of farmland that every hyperspectral paper shows.

Read from the installed `tensorly` package, which ships the corrected cube and the ground truth; needs no network.
"""

from __future__ import annotations

import importlib.util
from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.plan.facts import DatasetFacts, SourceFile

CUBE = SourceFile(
    path="datasets/data/Indian_pines_corrected.npy",
    sha256="8f038e4d81569e38ebfc72a15c9984c150de42580ab260be10a13442e912e451",
)
LABELS = SourceFile(
    path="datasets/data/Indian_pines_gt.npy",
    sha256="44610d21625b311b05b8e0c4ba9a6cc755c2fbb9df48e4d89419024aa6ad3f9d",
)

FACTS = DatasetFacts(
    name="indian_pines",
    title="Indian Pines, AVIRIS 1992, 16 classes of crops and woods",
    num_bands=200,
    wavelengths_nm=None,
    wavelengths_provenance=(
        "The files hold no wavelengths. The scene's documentation (Purdue University) says: AVIRIS, 220 bands from "
        "about 400 to 2500 nm in steps of about 10 nm; the corrected cube lacks the 20 water absorption bands "
        "104-108, 150-163 and 220 (counted from 1)."
    ),
    # The documentation gives radiance = (number - 1000) / 500 for the calibrated product, but nothing in the files
    # says that this copy is that product. So the numbers count as raw.
    quantity="raw",
    class_names=(
        "alfalfa",
        "corn-notill",
        "corn-mintill",
        "corn",
        "grass-pasture",
        "grass-trees",
        "grass-pasture-mowed",
        "hay-windrowed",
        "oats",
        "soybean-notill",
        "soybean-mintill",
        "soybean-clean",
        "wheat",
        "woods",
        "buildings-grass-trees-drives",
        "stone-steel-towers",
    ),
    class_ids=tuple(range(1, 17)),
    domain="remote",
    sensor="AVIRIS",
    region="Tippecanoe County, Indiana, USA",
    task="scene",
    image_size_px=(145, 145),
    labelled_pixels=10249,
    split="block",
    files=(CUBE, LABELS),
    citation=(
        "Baumgardner, Biehl, Landgrebe: 220 Band AVIRIS Hyperspectral Image Data Set: June 12, 1992 Indian Pine "
        "Test Site 3. Purdue University Research Repository, 2015. doi:10.4231/R7RX991C"
    ),
    licence="CC-BY-3.0",
)

BLOCKS = BlockRule(side_px=10, buffer_px=4)
REMEDY = "pip install tensorly"


def locate() -> Path | None:
    """The installed tensorly package, found without importing it (its import loads half of SciPy)."""
    found = importlib.util.find_spec("tensorly")
    places = found.submodule_search_locations if found else None
    return Path(places[0]) if places else None


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [145, 145, 200] uint16, labels [145, 145]."""
    import numpy as np

    cube = np.load(folder / CUBE.path, allow_pickle=False)
    labels = np.load(folder / LABELS.path, allow_pickle=False)
    return [RawImage(name="indian_pines", cube=cube, labels=labels, valid=np.ones(cube.shape[:2], dtype=bool))]
