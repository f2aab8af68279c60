"""Salinas: an AVIRIS scene of vegetable fields in the Salinas Valley; `salinas_a` is a corner of it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.datasets._base import BlockRule, RawImage
from orchestrator.datasets._classic_scenes import NOT_VALIDATED, UNCHECKED, basque_file, read_scene
from orchestrator.plan.facts import DatasetFacts

FACTS = DatasetFacts(
    name="salinas",
    title="Salinas, AVIRIS 1998, 16 classes of vegetables and vineyards",
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
        "brocoli-green-weeds-2",
        "fallow",
        "fallow-rough-plow",
        "fallow-smooth",
        "stubble",
        "celery",
        "grapes-untrained",
        "soil-vineyard-develop",
        "corn-senesced-green-weeds",
        "lettuce-romaine-4wk",
        "lettuce-romaine-5wk",
        "lettuce-romaine-6wk",
        "lettuce-romaine-7wk",
        "vineyard-untrained",
        "vineyard-vertical-trellis",
    ),
    class_ids=tuple(range(1, 17)),
    domain="remote",
    sensor="AVIRIS",
    region="Salinas Valley, California, USA",
    task="scene",
    image_size_px=(512, 217),
    labelled_pixels=54_129,
    split="block",
    files=(
        basque_file("remote/salinas/Salinas_corrected.mat", "a/a3/Salinas_corrected.mat"),
        basque_file("remote/salinas/Salinas_gt.mat", "f/fa/Salinas_gt.mat"),
    ),
    citation="NASA/JPL AVIRIS; distributed by the Computational Intelligence Group, University of the Basque Country",
    licence="none stated (NASA/JPL AVIRIS); attribute",
    notes=(
        NOT_VALIDATED,
        UNCHECKED,
        "It contains the pixels of salinas_a: never learn from one to be tested on the other.",
    ),
)

BLOCKS = BlockRule(side_px=16, buffer_px=8)


def read(folder: Path) -> list[RawImage]:
    """The one scene: cube [512, 217, 204], labels [512, 217]."""
    return read_scene(FACTS, folder, cube_variable="salinas_corrected", labels_variable="salinas_gt")
