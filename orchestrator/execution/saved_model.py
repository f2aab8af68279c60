"""A trained model as plain files, and the MLflow flavour that loads it: `config.json` beside safetensors, no pickle.

A network is stored as its weights. A scikit-learn strategy is stored as its (small) training set and fitted again
when it is loaded: that is exact, quick at the label budgets of this tool, and needs no pickle.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.datasets.statistics import BandStatistics, normalise
from orchestrator.errors import DataError
from orchestrator.execution import checkpoints

CONFIG, WEIGHTS, TRAINING_SET = "config.json", "model.safetensors", "training_set.safetensors"
FOLDER = "model"


def save_network(storage: str, key: str, model: Any, facts: dict[str, Any]) -> str:
    """Write weights and facts below the run's folder; the folder's path."""
    from safetensors.torch import save

    tensors = {name: tensor.detach().cpu().contiguous().clone() for name, tensor in model.state_dict().items()}
    checkpoints.write_bytes(storage, f"{key}/{FOLDER}", WEIGHTS, save(tensors))
    return _save_config(storage, key, {**facts, "kind": "network"})


def save_estimator(storage: str, key: str, features_NF: np.ndarray, labels_N: np.ndarray, facts: dict[str, Any]) -> str:
    """Write the training set and facts below the run's folder; the folder's path."""
    from safetensors.numpy import save

    arrays = {"features": np.ascontiguousarray(features_NF), "labels": np.ascontiguousarray(labels_N)}
    checkpoints.write_bytes(storage, f"{key}/{FOLDER}", TRAINING_SET, save(arrays))
    return _save_config(storage, key, {**facts, "kind": "estimator"})


def _save_config(storage: str, key: str, facts: dict[str, Any]) -> str:
    text = json.dumps(facts, indent=1, sort_keys=True)
    checkpoints.write_bytes(storage, f"{key}/{FOLDER}", CONFIG, text.encode())
    return f"{checkpoints.run_folder(storage, key)}/{FOLDER}"


class SavedModel:
    """Predicts label maps from raw cubes of the sensor it was trained on, of any height and width."""

    def __init__(self, folder: str | Path) -> None:
        from strategies.registry import get_strategy

        self.folder = Path(folder)
        self.facts: dict[str, Any] = json.loads((self.folder / CONFIG).read_text())
        statistics = {name: np.asarray(values) for name, values in self.facts["statistics"].items()}
        self.statistics = BandStatistics(**statistics)
        # The saved weights hold everything: nothing pretrained is looked for again.
        self.strategy: Any = get_strategy(self.facts["strategy"])(**{**self.facts["fields"], "init": "random"})
        self._model = self._load_network() if self.facts["kind"] == "network" else self._fit_estimator()

    def _load_network(self) -> Any:
        from safetensors.torch import load_file

        model = self.strategy.build(
            num_bands=self.facts["num_bands"],
            wavelengths_nm=self.facts["wavelengths_nm"],
            num_classes=len(self.facts["class_names"]),
            image_size=self.facts["patch_px"],
        )
        model.load_state_dict(load_file(self.folder / WEIGHTS))
        return model.eval()

    def _fit_estimator(self) -> Any:
        from safetensors.numpy import load_file

        arrays = load_file(self.folder / TRAINING_SET)
        return self.strategy.fit(arrays["features"], arrays["labels"], seed=self.facts["seed"])

    def predict(self, cube_HWC: np.ndarray) -> np.ndarray:
        """Class index of every pixel, int64 `[H, W]`, from a raw cube in the data set's own numbers.

        Raises:
            DataError: not three axes, another number of bands, or values that are not finite.
        """
        cube_HWC = np.asarray(cube_HWC)
        wanted = self.facts["num_bands"]
        if cube_HWC.ndim != 3 or cube_HWC.shape[2] != wanted:
            raise DataError(
                f"a cube of shape {cube_HWC.shape} does not fit: this model takes (height, width, {wanted}), "
                f"the bands of {self.facts['dataset']} in their order; "
                f"dropped from the original: {self.facts['dropped_bands'] or 'none'}"
            )
        if not np.isfinite(cube_HWC).all():
            raise DataError("the cube holds NaN or infinity; replace nodata before predicting")
        cube = normalise(cube_HWC, self.statistics, self.facts["normalisation"], self.facts["scale"])
        if self.facts["kind"] == "estimator":
            features = self.strategy.features(cube, np.ones(cube.shape[:2], dtype=bool))
            return (
                np.asarray(self.strategy.predict(self._model, features.reshape(-1, features.shape[2])))
                .reshape(cube.shape[:2])
                .astype(np.int64)
            )
        return self._predict_tiles(cube)

    def _predict_tiles(self, cube_HWC: np.ndarray) -> np.ndarray:
        import torch

        from orchestrator.execution.run_data import tiles

        height, width, _ = cube_HWC.shape
        labels = np.empty((height, width), dtype=np.int64)
        with torch.inference_mode():
            for rows, core_rows in tiles(height):
                for columns, core_columns in tiles(width):
                    x = torch.from_numpy(np.ascontiguousarray(cube_HWC[rows, columns].transpose(2, 0, 1)))[None]
                    window = self._model(x)[0].argmax(0).numpy()
                    inside = (
                        slice(core_rows.start - rows.start, core_rows.stop - rows.start),
                        slice(core_columns.start - columns.start, core_columns.stop - columns.start),
                    )
                    labels[core_rows, core_columns] = window[inside]
        return labels


class _PyfuncModel:
    """What MLflow's pyfunc wraps: `predict` takes one cube `[H, W, C]` or a stack `[N, H, W, C]`."""

    def __init__(self, folder: str) -> None:
        self.saved = SavedModel(folder)

    def predict(self, model_input: Any, params: dict[str, Any] | None = None) -> np.ndarray:  # noqa: ARG002
        cubes = np.asarray(model_input)
        return np.stack([self.saved.predict(c) for c in cubes]) if cubes.ndim == 4 else self.saved.predict(cubes)


def _load_pyfunc(data_path: str) -> _PyfuncModel:
    """MLflow's entry point (`loader_module`)."""
    return _PyfuncModel(data_path)
