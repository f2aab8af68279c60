"""The report says where a pseudo-RGB picture is no picture as an eye sees it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.analysis.pseudo_rgb import pseudo_rgb_notes
from orchestrator.api_plan import build_plan
from orchestrator.config import load_grid
from orchestrator.datasets.locations import DataLocations


def test_the_published_bands_of_hsi_drive_are_called_near_infrared_and_no_others(tmp_path: Path) -> None:
    plan = build_plan(load_grid("hs3bench"), DataLocations(data_root=None, cache=tmp_path), tmp_path, None)
    assert pseudo_rgb_notes(plan.cells) == [
        "hsi_drive: the pseudo-RGB bands 5,2,0 lie at 796, 879, 888 nm: near-infrared false colour, no picture as an "
        "eye sees it."
    ]
