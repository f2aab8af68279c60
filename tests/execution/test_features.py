"""Features of a frozen backbone, extracted once: the same results as without, exact resume, one or two workers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.datasets.store import open_prepared
from orchestrator.errors import DataError
from orchestrator.execution import features
from orchestrator.execution.features import FeatureRun, half_precision
from orchestrator.execution.seat import Seat
from orchestrator.execution.stage_files import features_folder
from orchestrator.execution.training import NetworkRun
from orchestrator.plan.cells import StrategyChoice
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.stage_templates import feature_template
from strategies import registry
from strategies.registry import get_strategy, load_plugin

HERE = Path(__file__).parent
PIXEL, IMAGE = "plugin/frozen_networks", "plugin/frozen_images"
SETTINGS = {"steps": 40, "evaluations": 2, "batch_size": 4, "patch_size": 32, "pixel_batch_size": 64}
CASES = [
    (PIXEL, {}, {}),
    (PIXEL, {"head": "spatial"}, {"augmentation": "flips"}),
    (PIXEL, {"head": "spatial"}, {"patch_size": 0, "batch_size": 1}),
    (IMAGE, {}, {"patch_size": 0, "batch_size": 1}),
]


@pytest.fixture(autouse=True)
def plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The two frozen networks are known here, and in no other test."""
    monkeypatch.setattr(registry, "_plugins", {})
    for name in ("frozen_networks.py", "frozen_images.py"):
        load_plugin(HERE / name)


def stages_of(spec: RunSpec, prepared: Path) -> list[RunSpec]:
    """The extraction that a run builds on, as the plan makes it."""
    strategy = get_strategy(spec.strategy)(**spec.fields)
    choice = StrategyChoice(name=spec.strategy, label="", fields=spec.fields)
    found = feature_template(strategy, choice, open_prepared(prepared).facts, spec, is_wanted=True)
    assert found is not None
    return [replace(found, seed=spec.seed, subset_seed=0, train={**found.train, "shard": 0, "shards": 1})]


def run(spec: RunSpec, prepared: Path, storage: Path, stages: list[RunSpec], *, kill_after: int = -1) -> Any:
    """One run or extraction in this process; told to stop at a tick of the given number."""
    torch.set_num_threads(1)
    ticks: list[None] = []

    def tell(event: dict[str, Any]) -> str:
        ticks.extend([None] * (event["kind"] == "tick"))
        return "told to stop" if len(ticks) == kill_after else ""

    job = {
        "prepared_path": str(prepared),
        "storage": str(storage),
        "attempt": 1,
        "until_step": spec.train["steps"],
        "weights_path": None,
        "stages": [one.to_json() for one in stages],
    }
    strategy = get_strategy(spec.strategy)(**spec.fields)
    seat = Seat(rank=0, world_size=1, device=torch.device("cpu"), tell=tell, first=lambda ask: ask())
    kind = FeatureRun if spec.stage == "features" else NetworkRun
    return kind(spec, job, strategy, seat).run()


def total(event: dict[str, Any]) -> np.ndarray:
    return np.sum([unit["confusion"] for unit in event["evaluation"]["units"]], axis=0)


@pytest.mark.parametrize(("name", "fields", "train"), CASES)
def test_cached_features_give_the_results_of_the_whole_model(
    name: str, fields: dict[str, Any], train: dict[str, Any], make_spec: Any, indian_pines: Path, tmp_path: Path
) -> None:
    spec = make_spec(name, fields=fields, **{**SETTINGS, **train})
    plain = run(spec, indian_pines, tmp_path / "plain", [])
    stages = stages_of(spec, indian_pines)
    assert run(stages[0], indian_pines, tmp_path / "kept", [])["kind"] == "reached"
    cached = run(replace(spec, depends_on=(stages[0].key,)), indian_pines, tmp_path / "kept", stages)
    moved = np.abs(total(plain) - total(cached)).sum() / 2
    assert moved <= 0.001 * total(plain).sum()
    for score in ("test/miou", "test/oa"):
        assert cached["scores"][score] == pytest.approx(plain["scores"][score], abs=0.001)
    assert plain["scores"]["test/oa"] > 0.2  # it has learned something that could have been lost
    assert cached["facts"] == plain["facts"]


@pytest.mark.parametrize("case", [0, 3])
def test_a_killed_extraction_goes_on_where_it_was(
    case: int, make_spec: Any, indian_pines: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(features, "STRIP_PIXELS", 145 * 20)
    monkeypatch.setattr(features, "PIXELS_AT_ONCE", 256)
    name, fields, train = CASES[case]
    stage = stages_of(make_spec(name, fields=fields, **{**SETTINGS, **train}), indian_pines)[0]
    whole = run(stage, indian_pines, tmp_path / "whole", [])
    if case == 0:
        cut = run(stage, indian_pines, tmp_path / "cut", [], kill_after=20)
        assert cut["kind"] == "cancelled"
        rows = (features_folder(str(tmp_path / "cut"), stage.key) / "0.rows.json").read_text()
        assert rows != '{"rows": 0}'
        counted: list[int] = []
        plain = FeatureRun._features
        monkeypatch.setattr(FeatureRun, "_features", lambda run, x: (counted.append(len(x)), plain(run, x))[1])
    again = run(stage, indian_pines, tmp_path / "cut", [])
    assert again["scores"] == whole["scores"]
    if case == 0:
        labelled = int((open_prepared(indian_pines).images[0].labels_HW != -1).sum())
        assert 0 < sum(counted) < labelled
    for path in features_folder(str(tmp_path / "whole"), stage.key).glob("*.npy"):
        other = features_folder(str(tmp_path / "cut"), stage.key) / path.name
        assert np.array_equal(np.load(path), np.load(other))


def test_nothing_is_kept_where_patches_would_have_other_features(make_spec: Any, indian_pines: Path) -> None:
    facts = open_prepared(indian_pines).facts
    for name, fields, train, is_kept in (
        (IMAGE, {}, {}, False),
        (IMAGE, {}, {"patch_size": 0, "augmentation": "flips"}, False),
        (IMAGE, {}, {"patch_size": 0}, True),
        (IMAGE, {"regime": "full"}, {"patch_size": 0}, False),
        (PIXEL, {"head": "spatial"}, {}, True),
    ):
        spec = make_spec(name, fields=fields, **{**SETTINGS, **train})
        strategy = get_strategy(name)(**fields)
        choice = StrategyChoice(name=name, label="", fields=spec.fields)
        found = feature_template(strategy, choice, facts, spec, is_wanted=True)
        assert (found is not None) == is_kept, (name, fields, train)
        assert feature_template(strategy, choice, facts, spec, is_wanted=False) is None


def test_features_that_half_precision_cannot_hold_are_refused() -> None:
    with pytest.raises(DataError, match="feature_cache=false"):
        half_precision(torch.tensor([1e5]))
