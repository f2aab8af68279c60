"""Real data and weights for the tests of strategies, found without the orchestrator."""

from __future__ import annotations

import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch

from strategies.backbones import _places, _weights


@pytest.fixture(autouse=True)
def _one_thread_and_a_fixed_seed():
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    torch.manual_seed(0)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="session")
def data_root():
    """The data root of the environment, or None."""
    value = os.environ.get("HSFM_DATA_ROOT")
    return Path(value) if value else None


@pytest.fixture(scope="session")
def weights_paths(data_root, tmp_path_factory):
    """Path of each checkpoint that is at hand, by name."""
    cache = tmp_path_factory.mktemp("cache")
    found = {name: _places.locate(name, data_root, cache).path for name in _weights.list_weights()}
    return {name: path for name, path in found.items() if path is not None}


@pytest.fixture(scope="session")
def indian_pines():
    """Real cube, z-scored, `[145, 145, 200]` float32, and class index, -1 where unlabelled."""
    folder = Path(find_spec("tensorly").submodule_search_locations[0]) / "datasets" / "data"
    cube = np.load(folder / "Indian_pines_corrected.npy").astype(np.float64)
    labels = np.load(folder / "Indian_pines_gt.npy").astype(np.int64) - 1
    return ((cube - cube.mean((0, 1))) / cube.std((0, 1))).astype(np.float32), labels
