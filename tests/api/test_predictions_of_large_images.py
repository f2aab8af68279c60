"""Images of several tiles, with pixels without data: every test pixel is predicted as it was when it was scored."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.config import TrainConfig
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import open_prepared
from orchestrator.datasets.tasks import draw_task
from orchestrator.execution import pieces
from orchestrator.execution.estimators import run_estimator
from orchestrator.execution.saved_model import SavedModel
from orchestrator.execution.windows import blended_windows
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import resolve_train
from orchestrator.prediction.pixels import predict_image
from strategies._base import field_values
from strategies.registry import get_strategy
from tests.datasets.made_data import made_scene, write_yaml
from tests.execution.conftest import run_network

HEIGHT_PX, WIDTH_PX, BANDS = 60, 700, 12
BUDGET = LabelBudget.parse(0.2)


@pytest.fixture(autouse=True)
def small_tiles(monkeypatch: pytest.MonkeyPatch) -> None:
    """Tiles of 256 px, so that the scene takes several."""
    monkeypatch.setattr(pieces, "EVALUATION_TILE_PX", 256)
    assert len(blended_windows(WIDTH_PX, 1)) > 2
    assert len(list(pieces.tiles(WIDTH_PX))) > 2


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A prepared scene wider than a tile, with scattered pixels and a strip of columns without data."""
    folder = tmp_path_factory.mktemp("scene")
    cube, labels = made_scene(0, HEIGHT_PX, WIDTH_PX, BANDS)
    cube = cube.astype(np.float32)
    has_no_data = np.random.default_rng(1).random(labels.shape) < 0.03
    has_no_data[:, 500:520] = True
    cube[has_no_data] = np.nan
    np.save(folder / "cube.npy", cube)
    np.save(folder / "labels.npy", labels)
    settings = {"image_size_px": [HEIGHT_PX, WIDTH_PX], "bands": BANDS, "nodata": float("nan")}
    return prepare(str(write_yaml(folder, **settings)), DataLocations(data_root=None, cache=folder / "cache"))


def _run(name: str, scene: Path, storage: Path) -> tuple[RunSpec, dict[str, Any]]:
    strategy = get_strategy(name)()
    spec = RunSpec(
        strategy=name,
        fields=field_values(strategy),
        dataset="made",
        dataset_digest=open_prepared(scene).digest,
        split="block",
        fold=0,
        label_budget=BUDGET,
        selection="validation_matched",
        stage="final",
        seed=0,
        subset_seed=0,
        train=resolve_train(strategy, TrainConfig(steps=10, evaluations=1, patch_size=16, batch_size=4)),
        metric="miou",
    )
    if strategy.kind == "network":
        return spec, run_network(spec, scene, storage)
    job = {"prepared_path": str(scene), "storage": str(storage), "until_step": 1, "attempt": 1, "weights_path": None}
    return spec, run_estimator(spec, job, strategy)


@pytest.mark.parametrize("name", ["in_domain/unet", "in_domain/spectral_cnn", "in_domain/box_filter_logistic"])
def test_every_test_pixel_counts_as_when_it_was_scored(name: str, scene: Path, tmp_path: Path) -> None:
    spec, ended = _run(name, scene, tmp_path)
    prepared = open_prepared(scene)
    task = draw_task(
        prepared, split="block", fold=0, label_budget=BUDGET, selection="validation_matched", subset_seed=0
    )
    saved = SavedModel(tmp_path / spec.key / "model")
    image = predict_image(saved, prepared.images[0], task, 0, tuple(prepared.facts.class_names))
    stored = np.sum([unit["confusion"] for unit in ended["evaluation"]["units"]], axis=0)
    assert (image.confusion() == stored).all()
    assert ((image.labels_HW == -1) == ~prepared.images[0].valid_HW).all()
