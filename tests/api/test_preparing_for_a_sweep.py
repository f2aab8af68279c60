"""Which data a sweep looks at before it starts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from rich.console import Console

from orchestrator.api import _prepare
from orchestrator.api_plan import build_plan
from orchestrator.config import load_grid
from orchestrator.datasets.locations import DataLocations


def test_data_of_cells_that_are_done_are_not_looked_at(tmp_path: Path) -> None:
    grid = load_grid("smoke", ["datasets=[hyko2]"])
    locations = DataLocations(data_root=None, cache=tmp_path / "cache")
    plan = build_plan(grid, locations, tmp_path, None)

    def damaged(state: str) -> list[str]:
        cells = tuple(replace(cell, state=state) for cell in plan.cells)  # type: ignore[arg-type]
        return list(_prepare(replace(plan, cells=cells), locations, Console(quiet=True)))

    assert damaged("missing") == ["hyko2"]
    assert damaged("done") == []
