"""Generated HS3-Bench files for tests, and the HDF5 files that the benchmark's code would write of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import h5py
import numpy as np

from orchestrator.datasets.imitate import imitate
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import PreparedDataset, open_prepared

STEMS = {"hyko2": "hyko2", "hsi_drive": "hsidrive", "hcv2": "hcv2"}


def generated(root: Path, *names: str, images: int = 10, seed: int = 0) -> DataLocations:
    """A data root with generated files, and a cache beside it."""
    for name in names:
        imitate(name, root, images=images, seed=seed)
    return DataLocations(data_root=root, cache=root / "cache")


def prepared(name: str, locations: DataLocations) -> PreparedDataset:
    return open_prepared(prepare(name, locations))


def write_hdf5(
    folder: Path, stem: str, lists: Mapping[str, Sequence[str]], *, bands: int, size: tuple[int, int], ending: str = ""
) -> None:
    """One file a side, groups with `image` and `labels`; the labels are original ids."""
    folder.mkdir(parents=True, exist_ok=True)
    generator = np.random.default_rng(0)
    for side, names in lists.items():
        with h5py.File(folder / f"{stem}_{side}.h5", "w") as file:
            for name in names:
                group = file.create_group(f"{name}{ending}")
                group["image"] = generator.random((*size, bands), dtype=np.float32)
                group["labels"] = generator.integers(0, 8, size, dtype=np.uint8)
