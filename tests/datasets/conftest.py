"""Prepared data sets that the tests of this folder share, and a small made scene of the user's."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from made_data import made_scene, write_yaml

from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import PreparedDataset, open_prepared


@pytest.fixture(scope="session")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="session")
def data_root() -> Path:
    root = os.environ.get("HSFM_DATA_ROOT")
    if not root or not (Path(root) / "remote").is_dir():
        pytest.skip("needs the original files: set HSFM_DATA_ROOT to the folder that holds remote/ and proximal/")
    return Path(root)


@pytest.fixture(scope="session")
def indian_pines(cache: Path) -> PreparedDataset:
    return open_prepared(prepare("indian_pines", DataLocations(data_root=None, cache=cache)))


@pytest.fixture(scope="session")
def real(data_root: Path, cache: Path) -> Callable[[str], PreparedDataset]:
    """Prepares a data set of the data root by name."""
    return lambda name: open_prepared(prepare(name, DataLocations(data_root=data_root, cache=cache)))


@pytest.fixture
def locations(tmp_path: Path) -> DataLocations:
    return DataLocations(data_root=None, cache=tmp_path / "cache")


@pytest.fixture
def scene_folder(tmp_path: Path) -> Path:
    """A folder with `cube.npy`, `labels.npy` and a `dataset.yaml` that fits them."""
    folder = tmp_path / "scene"
    folder.mkdir()
    cube, labels = made_scene()
    np.save(folder / "cube.npy", cube)
    np.save(folder / "labels.npy", labels)
    write_yaml(folder)
    return folder


@pytest.fixture(scope="session")
def image_set(tmp_path_factory: pytest.TempPathFactory) -> PreparedDataset:
    """Nine made images, prepared; class 3 is in three of them only."""
    folder = tmp_path_factory.mktemp("image_set")
    for index in range(9):
        cube, labels = made_scene(index, 16, 20)
        if index % 3:
            labels[labels == 3] = 2
        np.save(folder / f"tile{index}_cube.npy", cube)
        np.save(folder / f"tile{index}_labels.npy", labels)
    images = [{"name": f"t{i}", "cube": f"tile{i}_cube.npy", "labels": f"tile{i}_labels.npy"} for i in range(9)]
    path = write_yaml(folder, images=images, image_size_px=[16, 20], folds=3)
    return open_prepared(prepare(str(path), DataLocations(data_root=None, cache=folder / "cache")))
