"""Predict labelled pixels and count a confusion matrix per test image or block, over all ranks."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import nn

from orchestrator import metrics
from orchestrator.datasets.audit import audit
from orchestrator.execution.pieces import IGNORED
from orchestrator.execution.run_data import RunData
from orchestrator.execution.windows import predict_in_windows
from strategies._base import Strategy

PIXELS_A_CHUNK, WINDOWS_A_CHUNK = 1024, 256


def count_units(
    units: np.ndarray, target: np.ndarray, predicted: np.ndarray, *, num_units: int, num_classes: int
) -> np.ndarray:
    """Confusion matrices `[num_units, K, K]`, rows = target, from flat arrays."""
    counts = np.zeros((num_units, num_classes, num_classes), dtype=np.int64)
    for unit in np.unique(units):
        of_unit = units == unit
        counts[unit] = metrics.confusion_matrix(target[of_unit], predicted[of_unit], num_classes)
    return counts


def confusion_of_network(
    model: nn.Module,
    data: RunData,
    side: str,
    *,
    strategy: Strategy,
    device: torch.device,
    autocast: Callable[[], Any],
    rank: int = 0,
    world_size: int = 1,
) -> np.ndarray:
    """This rank's share of the confusion matrices `[units, K, K]` of "validation" (one unit) or "test".

    With `train.undefined_output` they are `[units, K + 1, K + 1]`: the last column counts labelled pixels that were
    predicted as undefined, the last row is empty.
    """
    scoring = _Scoring(model, data, side, strategy, device, autocast, slice(rank, None, world_size))
    num_units = data.num_units(side)
    total = np.zeros((num_units, data.num_outputs, data.num_outputs), dtype=np.int64)
    model.eval()
    with torch.inference_mode():
        for units, target, predicted in scoring.predictions():
            units = units.astype(np.int64) if side == "test" else np.zeros(len(target), dtype=np.int64)
            total += count_units(units, target, predicted, num_units=num_units, num_classes=data.num_outputs)
    return total


Predictions = Iterator[tuple[np.ndarray, np.ndarray, np.ndarray]]
"""Unit, label and predicted class `[N]` of labelled pixels."""


@dataclass(frozen=True)
class _Scoring:
    """What of a side is predicted, by the cheapest way that a strategy allows."""

    model: nn.Module
    data: RunData
    side: str
    strategy: Strategy
    device: torch.device
    autocast: Callable[[], Any]
    mine: slice
    """This rank's part of the pixels or of the images."""

    def predictions(self) -> Predictions:
        if self.strategy.receptive_field_px == 1:
            return self._pixels()
        return self._windows() if self.strategy.window_px else self._images()

    def _pixels(self) -> Predictions:
        """A pixel's class depends on its own spectrum only: no need to predict the others."""
        for piece in self.data.pieces(self.side):
            scored = piece.labels_HW != IGNORED
            spectra_NC = self.data.normalised(piece.image, piece.rows, piece.columns)[scored][self.mine]
            parts = [
                self._classes(self.model, spectra_NC[at : at + PIXELS_A_CHUNK, :, None, None]).flatten()
                for at in range(0, len(spectra_NC), PIXELS_A_CHUNK)
            ]
            yield piece.units_HW[scored][self.mine], piece.labels_HW[scored][self.mine], _joined(parts)

    def _windows(self) -> Predictions:
        """The window around each labelled pixel, and no others."""
        for image, labels_HW in enumerate(self.data.labels_of(self.side)):
            rows_N, columns_N = (places[self.mine] for places in np.nonzero(labels_HW != IGNORED))
            parts = []
            for at in range(0, len(rows_N), WINDOWS_A_CHUNK):
                chunk = slice(at, at + WINDOWS_A_CHUNK)
                windows_NCpp = self.data.windows(image, rows_N[chunk], columns_N[chunk], self.strategy.window_px)
                parts.append(self._classes(self.model.classify, windows_NCpp))
            yield self.data.units_of(image)[rows_N, columns_N], labels_HW[rows_N, columns_N], _joined(parts)

    def _images(self) -> Predictions:
        """Images as they are predicted later, each by one rank; windows without a label are left out."""
        labels = self.data.labels_of(self.side)
        for image in [image for image, labels_HW in enumerate(labels) if (labels_HW != IGNORED).any()][self.mine]:
            scored_HW = labels[image] != IGNORED
            strips = predict_in_windows(
                functools.partial(self._logits, image, scored_HW),
                *scored_HW.shape,
                inference_px=self.strategy.inference_px,
                reach_px=self.strategy.receptive_field_px // 2,
                outputs=self.data.num_outputs,
            )
            for rows, predicted_HW, _ in strips:
                scored = scored_HW[rows]
                yield self.data.units_of(image)[rows][scored], labels[image][rows][scored], predicted_HW[scored]

    def _logits(self, image: int, wanted_HW: np.ndarray, rows: slice, columns: slice) -> torch.Tensor | None:
        if not wanted_HW[rows, columns].any():
            return None
        window_HWC = self.data.normalised(image, rows, columns)
        x_BCHW = torch.from_numpy(np.ascontiguousarray(window_HWC.transpose(2, 0, 1)))[None].to(self.device)
        with self.autocast():
            logits_KHW: torch.Tensor = self.model(x_BCHW)[0]
        return logits_KHW

    def _classes(self, model: Any, inputs: np.ndarray) -> np.ndarray:
        with self.autocast():
            classes: np.ndarray = (
                model(torch.from_numpy(np.ascontiguousarray(inputs)).to(self.device)).argmax(1).cpu().numpy()
            )
        return classes


def _joined(parts: list[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def validation_scores(confusion: np.ndarray, data: RunData) -> dict[str, float]:
    """Scores `val/...` over the classes that have validation labels."""
    present = tuple(c for c in data.task.scored_classes if confusion[0, c].sum() > 0)
    return {f"val/{name}": value for name, value in metrics.scores(confusion[0], present).items()}


def _scores_by_region(near_KK: np.ndarray, inside_KK: np.ndarray) -> dict[str, float]:
    """Overall accuracy of test pixels near a border between classes, and of the others, where there are any."""
    found = {"test/oa_border": near_KK, "test/oa_interior": inside_KK}
    return {name: float(np.trace(kk[:, : len(kk)]) / kk.sum()) for name, kk in found.items() if kk.sum()}


def score_test(
    confusion: np.ndarray, data: RunData, receptive_field_px: int
) -> tuple[dict[str, float], dict[str, Any]]:
    """Scores `test/...` over the split's scored classes, and what is behind them, for the ledger.

    With `train.undefined_output` also `test/compat_...`, by the convention of HS3-Bench's papers. The evaluation holds
    the confusion matrix of every test image or block (see `confusion_of_network` for its size), and the audit of how
    far this run's training and test labels are apart, for the neighbourhood that the strategy looks at.
    """
    facts, task = data.prepared.facts, data.task
    whole = confusion.sum(0)
    scores = {f"test/{name}": value for name, value in metrics.scores(whole, task.scored_classes).items()}
    near, inside = confusion[: len(task.unit_names)], confusion[len(task.unit_names) :]
    scores |= _scores_by_region(near.sum(0), inside.sum(0))
    if facts.headline_classes is not None:
        headline = tuple(c for c in task.scored_classes if facts.class_names[c] in facts.headline_classes)
        scores["test/headline_miou"] = metrics.scores(whole, headline)["miou"]
    if data.has_undefined:
        scores |= {f"test/{name}": value for name, value in metrics.compat_scores(whole, facts.num_classes).items()}
    evaluation = {
        "class_names": list(facts.class_names),
        "scored_classes": list(task.scored_classes),
        "headline_classes": list(facts.headline_classes) if facts.headline_classes else None,
        "units": [
            {"name": n, "confusion": c.tolist()} for n, c in zip(task.unit_names, near + inside, strict=True) if c.any()
        ],
        "train_labels": task.train_count,
        "validation_labels": task.validation_count,
        "classes_trained": task.classes_trained,
        "audit": audit(data.prepared, task, receptive_field_px).to_json(),
    }
    return scores, evaluation
