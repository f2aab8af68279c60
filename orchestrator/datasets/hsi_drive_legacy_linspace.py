"""HSI-Drive v2.0 with the wavelengths that the code of the 2026 paper assumes: for comparison with its numbers only."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.datasets import _hsi_drive_facts as known
from orchestrator.datasets import hsi_drive
from orchestrator.datasets._base import Definition, Survey

FACTS = replace(
    known.FACTS,
    name="hsi_drive_legacy_linspace",
    scene="hsi_drive",
    title="HSI-Drive v2.0 with wavelengths as the reference code has them (compatibility; they are wrong)",
    wavelengths_nm=tuple(535.0 + step * (975.0 - 535.0) / 24 for step in range(25)),
    wavelengths_provenance=(
        "COMPATIBILITY: 25 equal steps from 535 to 975 nm, as wave_hsidrive.csv of cross-domain-hsi has them. They "
        "contradict the authors of the data, whose bands are in mosaic order: use hsi_drive for anything else."
    ),
)
IGNORED_IDS, REMEDY, ARCHIVE, read = known.IGNORED_IDS, known.REMEDY, known.ARCHIVE, hsi_drive.read


def survey(definition: Definition, places: tuple[Path, ...]) -> Survey:
    """The files of `hsi_drive`."""
    return hsi_drive.survey(definition, places)
