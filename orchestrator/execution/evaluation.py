"""Predict labelled pixels and count a confusion matrix per test image or block, over all ranks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import nn

from orchestrator import metrics
from orchestrator.datasets.audit import audit
from orchestrator.execution.run_data import IGNORED, RunData
from strategies._base import Strategy

PIXELS_A_CHUNK = 1024


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
    is_pixelwise = strategy.receptive_field_px == 1
    num_units = len(data.task.unit_names) if side == "test" else 1
    total = np.zeros((num_units, data.num_outputs, data.num_outputs), dtype=np.int64)
    model.eval()
    with torch.inference_mode():
        for number, piece in enumerate(data.pieces(side)):
            scored = piece.labels_HW != IGNORED
            if not is_pixelwise and number % world_size != rank:
                continue
            window = data.normalised(piece.image, piece.rows, piece.columns)
            target, units = piece.labels_HW[scored], piece.units_HW[scored]
            if is_pixelwise:  # a pixel's class depends on its own spectrum only: no need to predict the others
                mine = slice(rank, None, world_size)
                target, units = target[mine], units[mine]
                predicted = _predict_pixels(model, window[scored][mine], device, autocast)
            else:
                x_BCHW = torch.from_numpy(np.ascontiguousarray(window.transpose(2, 0, 1)))[None].to(device)
                with autocast():
                    predicted = model(x_BCHW)[0].argmax(0).cpu().numpy()[scored]
            units = units if side == "test" else np.zeros_like(units)
            total += count_units(
                units.astype(np.int64), target, predicted, num_units=num_units, num_classes=data.num_outputs
            )
    return total


def _predict_pixels(
    model: nn.Module, spectra_NC: np.ndarray, device: torch.device, autocast: Callable[[], Any]
) -> np.ndarray:
    parts = []
    for start in range(0, len(spectra_NC), PIXELS_A_CHUNK):
        x_BCHW = torch.from_numpy(np.ascontiguousarray(spectra_NC[start : start + PIXELS_A_CHUNK]))[
            :, :, None, None
        ].to(device)
        with autocast():
            parts.append(model(x_BCHW).argmax(1).flatten().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty(0, dtype=np.int64)


def validation_scores(confusion: np.ndarray, data: RunData) -> dict[str, float]:
    """Scores `val/...` over the classes that have validation labels."""
    present = tuple(c for c in data.task.scored_classes if confusion[0, c].sum() > 0)
    return {f"val/{name}": value for name, value in metrics.scores(confusion[0], present).items()}


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
            {"name": n, "confusion": c.tolist()} for n, c in zip(task.unit_names, confusion, strict=True) if c.any()
        ],
        "train_labels": task.train_count,
        "validation_labels": task.validation_count,
        "classes_trained": task.classes_trained,
        "audit": audit(data.prepared, task, receptive_field_px).to_json(),
    }
    return scores, evaluation
