"""Which model is meant: best by validation, by name, by key, behind a URI, in a folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from orchestrator.api_plan import SweepView, build_plan
from orchestrator.config import load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, DataError
from orchestrator.execution.cell_state import SELECTION
from orchestrator.ledger.records import CellRecord, SlotRecord
from orchestrator.prediction import find_model
from orchestrator.prediction.choosing import choose
from tests.prediction.made_models import made_model


def cell(
    strategy: str,
    finals: Mapping[str, tuple[float, float]],
    *,
    dataset: str = "indian_pines",
    state: str = "done",
    slot_state: str = "finished",
    split: str = "block",
) -> CellRecord:
    """A cell whose final runs have the given key: (validation, test) scores."""
    slots = {
        f"final/{seed}": SlotRecord(
            slot=f"final/{seed}",
            key=key,
            state=slot_state,  # type: ignore[arg-type]
            scores={SELECTION: validation, "test/miou": test},
        )
        for seed, (key, (validation, test)) in enumerate(finals.items())
    }
    slots["search/f0/0"] = SlotRecord(slot="search/f0/0", key=f"trial of {strategy}", state="finished")
    tags = {
        "hsfm.cell_name": f"{strategy} · {dataset} · 10%",
        "hsfm.strategy": strategy,
        "hsfm.dataset": dataset,
        "hsfm.state": state,
        "hsfm.split": split,
    }
    return CellRecord(cell_id=f"id of {strategy} {dataset}", slots=slots, tags=tags)


@pytest.fixture
def look(tmp_path: Path) -> object:
    plan = build_plan(load_grid("smoke"), DataLocations(data_root=None, cache=tmp_path), tmp_path)

    def make(*cells: CellRecord) -> SweepView:
        return SweepView(plan=plan, records={c.cell_id: c for c in cells}, folder=tmp_path / "smoke")

    return make


def test_best_is_the_cell_with_the_best_mean_validation_whatever_test_says(look) -> None:  # type: ignore[no-untyped-def]
    steady = cell("steady", {"a": (0.6, 0.1), "b": (0.62, 0.1)})
    lucky = cell("lucky", {"c": (0.9, 0.9), "d": (0.2, 0.9)})
    found = choose("best", look(lucky, steady), None)
    assert found.slot.key == "b"
    assert "best of 2 complete cell(s) by mean validation miou of their final runs (0.6100)" in found.why


def test_best_takes_complete_cells_only(look) -> None:  # type: ignore[no-untyped-def]
    half = cell("half", {"a": (0.9, 0.9)}, state="running")
    assert choose("best", look(half, cell("whole", {"b": (0.1, 0.1)})), None).slot.key == "b"
    with pytest.raises(
        ConfigError, match="no complete cell .* 1 final runs of cells that are not complete are finished"
    ):
        choose("best", look(half), None)
    with pytest.raises(ConfigError, match="no final run is finished; run the sweep first: hsfm-sweep --grid smoke"):
        choose("best", look(cell("open", {"a": (0.0, 0.0)}, state="running", slot_state="running")), None)


def test_best_on_blocks_is_not_beaten_by_validation_pixels_that_lie_beside_training_pixels(look) -> None:  # type: ignore[no-untyped-def]
    leaking, honest = cell("leaking", {"a": (0.9, 0.9)}, split="random"), cell("honest", {"b": (0.6, 0.5)})
    assert choose("best", look(leaking, honest), None).slot.key == "b"
    assert choose("best", look(leaking), None).slot.key == "a"


def test_best_of_several_data_sets_needs_the_name_of_one(look) -> None:  # type: ignore[no-untyped-def]
    view = look(cell("one", {"a": (0.5, 0.5)}), cell("one", {"b": (0.9, 0.9)}, dataset="samson"))
    with pytest.raises(ConfigError, match="2 data sets.*--dataset with one of indian_pines, samson"):
        choose("best", view, None)
    assert choose("best", view, "indian_pines").slot.key == "a"
    with pytest.raises(ConfigError, match="Did you mean 'samson'"):
        choose("best", view, "samsom")


def test_a_cell_is_known_by_id_name_and_strategy_and_a_run_by_its_key(look) -> None:  # type: ignore[no-untyped-def]
    view = look(cell("one", {"a": (0.5, 0.5), "b": (0.6, 0.1)}), cell("two", {"c": (0.9, 0.9)}))
    for name in ("id of one indian_pines", "one · indian_pines · 10%", "one", "b"):
        assert choose(name, view, None).slot.key == "b", name
    assert choose("a", view, None).slot.key == "a"
    with pytest.raises(ConfigError, match="a trial of the search, which leaves no model; .*: a, b"):
        choose("trial of one", view, None)
    with pytest.raises(ConfigError, match="unknown model 'on'. Did you mean|Known: best, one · indian_pines"):
        choose("on", view, None)
    several = look(cell("one", {"a": (0.5, 0.5)}), cell("one", {"b": (0.5, 0.5)}, dataset="samson"))
    with pytest.raises(ConfigError, match="2 cells fit 'one'; allowed: the id of one of them"):
        choose("one", several, None)


def test_a_folder_needs_no_sweep(tmp_path: Path) -> None:
    folder = made_model(tmp_path)
    assert find_model(folder).key == find_model(str(folder)).key == "0123456789abcdef"


def test_a_model_that_is_not_there_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="no grid was given .*--grid NAME"):
        find_model("best")
    with pytest.raises(ConfigError, match="model folder .* not found"):
        find_model(tmp_path / "absent")
    with pytest.raises(DataError, match="holds no model: config.json is not there"):
        find_model(tmp_path)
    with pytest.raises(ConfigError, match="--tracking-uri"):
        find_model("models:/mine/1")
    with pytest.raises(ConfigError, match="has no runs in"):
        find_model("best", grid="smoke", root=tmp_path)


def test_a_damaged_model_is_told_by_its_file(tmp_path: Path) -> None:
    folder = made_model(tmp_path)
    weights = folder / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(DataError, match="model.safetensors is absent or damaged"):
        find_model(folder).load()
    (folder / "config.json").write_text("{}")
    with pytest.raises(DataError, match="it lacks strategy"):
        find_model(folder)
