"""HyperspectralCity v2 with the validation split that the code of the 2024 paper draws at run time (HS3-Bench)."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.datasets import _hcv2

FACTS = replace(
    _hcv2.FACTS,
    name="hcv2_2024",
    scene="hcv2",
    title="HyperspectralCity v2, 128 bands from a car at half resolution, 19 classes (HS3-Bench, split of 2024)",
    notes=(
        *_hcv2.FACTS.notes,
        "The validation images of this split are training images of hcv2, and the other way round: never choose a "
        "model of one by the other.",
    ),
)
IGNORED_IDS, REMEDY = _hcv2.IGNORED_IDS, _hcv2.REMEDY
survey, read = _hcv2.survey_hcv2, _hcv2.read_hcv2
