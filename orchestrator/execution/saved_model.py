"""A trained model as plain files, and the MLflow flavour that loads it: `config.json` beside safetensors, no pickle.

A network is stored as its weights. A scikit-learn strategy is stored as its (small) training set and fitted again
when it is loaded: that is exact, quick at the label budgets of this tool, and needs no pickle.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.datasets.statistics import BandStatistics, normalise
from orchestrator.errors import DataError
from orchestrator.execution import checkpoints
from orchestrator.execution.model_files import CONFIG, EXAMPLE, TRAINING_SET, WEIGHTS, read_facts, read_tensors
from orchestrator.execution.windows import Strip, exact_windows, predict_in_windows

FOLDER = "model"
ROWS_AT_ONCE = 32

Reader = Callable[[slice, slice], "tuple[np.ndarray, np.ndarray | None]"]
"""Rows and columns to raw numbers `[h, w, C]` and a mask `[h, w]` of the pixels that hold data (None: all do)."""


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
    from safetensors.numpy import save

    example_HWC = facts.pop("example_HWC", None)
    if example_HWC is not None:
        data = save({"cube": np.ascontiguousarray(example_HWC)})
        checkpoints.write_bytes(storage, f"{key}/{FOLDER}", EXAMPLE, data)
    text = json.dumps(facts, indent=1, sort_keys=True)
    checkpoints.write_bytes(storage, f"{key}/{FOLDER}", CONFIG, text.encode())
    return f"{checkpoints.run_folder(storage, key)}/{FOLDER}"


class SavedModel:
    """Predicts label maps from raw cubes of the sensor it was trained on, of any height and width."""

    def __init__(self, folder: str | Path) -> None:
        """Load a model's folder.

        Raises:
            DataError: there is no model in it, or one of its files is damaged.
            StrategyError: its strategy is not known here (a plugin that was not named).
        """
        from strategies.registry import get_strategy

        self.folder = Path(folder)
        self.facts: dict[str, Any] = read_facts(self.folder)
        statistics = {name: np.asarray(values) for name, values in self.facts["statistics"].items()}
        self.statistics = BandStatistics(**statistics)
        # The saved weights hold everything: nothing pretrained is looked for again.
        self.strategy: Any = get_strategy(self.facts["strategy"])(**{**self.facts["fields"], "init": "random"})
        self.is_network = self.facts["kind"] == "network"
        self._model = self._load_network() if self.is_network else self._fit_estimator()

    @property
    def network(self) -> Any:
        """The torch module, in evaluation mode: normalised `x_BCHW` to logits; of networks only."""
        return self._model

    @property
    def num_classes(self) -> int:
        return len(self.facts["class_names"])

    @property
    def num_outputs(self) -> int:
        """Channels of a network's logits: one more than classes where it was trained with an undefined output."""
        return self.num_classes + bool(self.facts.get("undefined_output"))

    @property
    def reach_px(self) -> int:
        """Pixels that an output pixel can see to either side."""
        return int(self.strategy.receptive_field_px) // 2

    @property
    def has_confidence(self) -> bool:
        """Whether the model gives probabilities; distances to a decision border are none."""
        return self.is_network or hasattr(self._model, "predict_proba")

    def _load_network(self) -> Any:
        model = self.strategy.build(
            num_bands=self.facts["num_bands"],
            wavelengths_nm=self.facts["wavelengths_nm"],
            num_classes=self.num_outputs,
            image_size=self.facts["patch_px"],
        )
        tensors = read_tensors(self.folder / WEIGHTS, framework="torch")
        try:
            model.load_state_dict(tensors)
        except RuntimeError as error:
            raise DataError(
                f"{self.folder / WEIGHTS} does not fit {self.facts['strategy']} as it is now: {error}; "
                "use the version of the tool that wrote it"
            ) from error
        return model.eval()

    def _fit_estimator(self) -> Any:
        arrays = read_tensors(self.folder / TRAINING_SET, framework="numpy")
        return self.strategy.fit(arrays["features"], arrays["labels"], seed=self.facts["seed"])

    def predict(self, cube_HWC: np.ndarray) -> np.ndarray:
        """Class index of every pixel, int64 `[H, W]`, from a raw cube in the data set's own numbers.

        A network with an undefined output says -1 where it sees no class.

        Raises:
            DataError: not three axes, another number of bands, or values that are not finite.
        """
        return self.predict_probabilities(cube_HWC)[0]

    def predict_probabilities(self, cube_HWC: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        """Class index of every pixel `[H, W]` and its probability, None where the model knows none; see `predict`."""
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
        height, width, _ = cube_HWC.shape
        labels_HW = np.empty((height, width), dtype=np.int64)
        confidence_HW = np.empty((height, width), dtype=np.float32) if self.has_confidence else None
        for rows, strip, confidence in self.predict_strips(lambda r, c: (cube_HWC[r, c], None), height, width):
            labels_HW[rows] = strip
            if confidence_HW is not None and confidence is not None:
                confidence_HW[rows] = confidence
        return labels_HW, confidence_HW

    def logits(self, cube_HWC: np.ndarray) -> np.ndarray:
        """Scores before the softmax `[outputs, H, W]` of a raw cube as one window; of networks only."""
        height, width, _ = cube_HWC.shape
        return np.asarray(self._logits(lambda r, c: (cube_HWC[r, c], None), slice(0, height), slice(0, width)))

    def predict_strips(self, read: Reader, height: int, width: int) -> Iterator[Strip]:
        """Predict an image that need not lie in memory, from top to bottom.

        Args:
            read: gives a window of the raw cube `[h, w, C]` and which of its pixels hold data (None: all).
            height: of the image in px.
            width: of the image in px.
        """
        if not self.is_network:
            yield from self._estimate(read, height, width)
            return
        strips = predict_in_windows(
            lambda rows, columns: self._logits(read, rows, columns),
            height,
            width,
            inference_px=self.strategy.inference_px,
            reach_px=self.reach_px,
            outputs=self.num_outputs,
        )
        for used, labels_HW, confidence_HW in strips:
            yield used, np.where(labels_HW < self.num_classes, labels_HW, -1), confidence_HW

    def _logits(self, read: Reader, rows: slice, columns: slice) -> Any:
        import torch

        window_HWC, valid_HW = self._normalised(read, rows, columns)
        if valid_HW is not None and not valid_HW.any():
            return None
        with torch.inference_mode():
            x_BCHW = torch.from_numpy(np.ascontiguousarray(window_HWC.transpose(2, 0, 1)))[None]
            del window_HWC  # 200 MB for 200 bands
            return self._model(x_BCHW)[0]

    def _normalised(self, read: Reader, rows: slice, columns: slice) -> tuple[np.ndarray, np.ndarray | None]:
        """A window as the model sees it; pixels without data are 0, as in training."""
        raw_HWC, valid_HW = read(rows, columns)
        window_HWC = np.empty(raw_HWC.shape, dtype=np.float32)
        # A few rows at a time: the calculation is in float64.
        for first in range(0, len(raw_HWC), ROWS_AT_ONCE):
            part = slice(first, first + ROWS_AT_ONCE)
            window_HWC[part] = normalise(
                raw_HWC[part],
                self.statistics,
                self.facts["normalisation"],
                self.facts["scale"],
                None if valid_HW is None else valid_HW[part],
            )
        return window_HWC, valid_HW

    def _estimate(self, read: Reader, height: int, width: int) -> Iterator[Strip]:
        columns = exact_windows(width, self.reach_px)
        for row in exact_windows(height, self.reach_px):
            labels_HW = np.zeros((row.used.stop - row.used.start, width), dtype=np.int64)
            confidence_HW = np.zeros(labels_HW.shape, dtype=np.float32) if self.has_confidence else None
            for column in columns:
                window_HWC, valid_HW = self._normalised(read, row.pixels, column.pixels)
                visible_HW = np.ones(window_HWC.shape[:2], dtype=bool) if valid_HW is None else valid_HW
                wanted_HW = visible_HW & (row.weights > 0)[:, None] & (column.weights > 0)
                features_NF = self.strategy.features(window_HWC, visible_HW)[wanted_HW]
                if not len(features_NF):
                    continue
                chosen_HW = wanted_HW[row.weights > 0][:, column.weights > 0]
                labels_N = np.asarray(self.strategy.predict(self._model, features_NF)).astype(np.int64)
                labels_HW[:, column.used][chosen_HW] = labels_N
                if confidence_HW is not None:
                    confidence_HW[:, column.used][chosen_HW] = self._probability(features_NF, labels_N)
            yield row.used, labels_HW, confidence_HW

    def _probability(self, features_NF: np.ndarray, labels_N: np.ndarray) -> np.ndarray:
        """Probability of the label that was said."""
        of_class_NK = self._model.predict_proba(features_NF)
        columns_N = np.searchsorted(self._model.classes_, labels_N)
        return of_class_NK[np.arange(len(labels_N)), columns_N].astype(np.float32)


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
