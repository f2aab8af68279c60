"""Our scores of a published row, read from the ledger of its own sweep."""

from __future__ import annotations

from pathlib import Path

import pytest
from rich.console import Console

from orchestrator.api_plan import build_plan
from orchestrator.cli.reproduce import print_comparison
from orchestrator.config import load_grid
from orchestrator.datasets.imitate import imitate
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.errors import ConfigError
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import open_ledger
from orchestrator.reference import GENERATED, METRICS, find_row
from orchestrator.reproduction import Reproduced, reproduction_grid, scores_of_rows, write_grid

ROWS = [find_row(name) for name in ("hyko2/unet/hsi", "hyko2/runet/prgb")]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> list[Reproduced]:
    """Two rows on generated data, the first of them with a finished run in a real ledger."""
    root = tmp_path_factory.mktemp("again")
    imitate("hyko2", root / "made", images=4)
    locations = DataLocations(data_root=root / "made", cache=root / "cache")
    prepare("hyko2", locations)
    grid = reproduction_grid(ROWS, "again", ["train.epochs=3"])
    cell = build_plan(grid, locations, root).cells[0]
    cell_id, key = str(cell.cell_id), "a" * 16
    scores = {f"test/{name}": 0.6 for name in METRICS} | {f"test/compat_{name}": 0.5 for name in METRICS}
    tags = {"hsfm.stage": "final", "hsfm.seed": "42", "hsfm.device": "cpu"}
    with open_ledger(root / "again", "again", mode="drive") as ledger:
        ledger.ensure_cell(cell_id, str(cell.cell), {})
        slot = SlotRecord(slot="final/42", key=key)
        ledger.put_slot(cell_id, slot)
        ledger.start_run(key, cell_id, "final 42", 1, [slot.slot], tags, {})
        ledger.log_metrics(key, 3, scores)
        ledger.end_run(key, "finished")
        ledger.put_slot(cell_id, SlotRecord(slot=slot.slot, key=key, state="finished"))
    return scores_of_rows(ROWS, grid, locations, root, None)


def test_ours_follow_the_papers_convention_and_stand_beside_our_own(found: list[Reproduced]) -> None:
    done, missing = found
    assert done.state == "complete"
    assert done.ours == pytest.approx(dict.fromkeys(METRICS, 50.0))
    assert done.own == pytest.approx(dict.fromkeys(METRICS, 60.0))
    assert done.difference("miou") == pytest.approx(50.0 - 57.39)
    assert (done.key, done.device) == ("a" * 16, "cpu")
    assert done.digest
    assert missing.ours == {}
    assert missing.difference("miou") is None
    assert missing.state != "complete"


def test_no_difference_to_generated_data_is_printed(found: list[Reproduced]) -> None:
    console = Console(record=True, width=160)
    print_comparison(found, console)
    text = console.export_text()
    assert text.count(GENERATED) == len(METRICS)
    assert "-7.39" not in text
    assert not found[0].is_within


def test_the_written_grid_is_the_sweep_that_ran(tmp_path: Path) -> None:
    overrides = ["train.epochs=3", "execution.groups=1"]
    written = load_grid(str(write_grid(ROWS, "again", tmp_path, overrides)))
    assert written == reproduction_grid(ROWS, "again", overrides)


@pytest.mark.parametrize("override", ["train.epochs", "train.epoch=3", "train: 3"])
def test_an_override_that_is_not_understood_is_refused_before_a_grid_is_written(override: str, tmp_path: Path) -> None:
    with pytest.raises(ConfigError):
        write_grid(ROWS, "again", tmp_path, [override])
    assert not list(tmp_path.iterdir())
