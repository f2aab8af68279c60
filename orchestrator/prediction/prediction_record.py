"""The record of a prediction: which model, which cube, what was noticed, how many pixels of each class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

import orchestrator
from orchestrator.datasets.registry import known_colours
from orchestrator.prediction.picture import class_colours

if TYPE_CHECKING:
    from orchestrator.execution.saved_model import SavedModel
    from orchestrator.prediction.checks import Fit
    from orchestrator.prediction.cubes import Cube
    from orchestrator.prediction.models import FoundModel

SCHEMA = 1
"""Raised when a key changes its meaning or goes; new keys leave it."""


def prediction_record(
    cube: Cube,
    fit: Fit,
    model: FoundModel,
    saved: SavedModel,
    index_HW: NDArray[np.int16],
    no_data: int,
    seconds: float,
) -> dict[str, Any]:
    """Plain data of one prediction, without its files.

    Args:
        cube: what was predicted.
        fit: how it was brought to the model.
        model: the model, as found.
        saved: the same, loaded.
        index_HW: class indices, -1 without data.
        no_data: id of pixels without data in the label map.
        seconds: that it took.
    """
    facts = model.facts
    names = facts["class_names"]
    colours = class_colours(len(names), known_colours(facts["dataset"], names))
    counts = np.bincount((index_HW + 1).ravel(), minlength=len(names) + 1)
    with_data = max(1, int(counts[1:].sum()))
    classes = [
        {
            "index": index,
            "id": class_id,
            "name": name,
            "colour": "#{:02x}{:02x}{:02x}".format(*colours[index]),
            "pixels": int(counts[index + 1]),
            "share": int(counts[index + 1]) / with_data,
        }
        for index, (class_id, name) in enumerate(zip(facts["class_ids"], names, strict=True))
    ]
    return {
        "schema": SCHEMA,
        "tool_version": orchestrator.__version__,
        "cube": {
            "path": cube.path,
            "format": cube.format,
            "height": int(index_HW.shape[0]),
            "width": int(index_HW.shape[1]),
            "bands": int(cube.cube_HWC.shape[2]),
            "stored_shape": list(cube.stored_shape),
            "band_axis": cube.band_axis,
        },
        "model": {
            "key": model.key,
            "strategy": facts["strategy"],
            "dataset": facts["dataset"],
            "dataset_digest": facts.get("dataset_digest"),
            "cell": model.cell,
            "source": model.source,
            "mean_validation": model.mean_validation,
        },
        "classes": classes,
        "no_data": {"id": no_data, "index": -1, "pixels": int(counts[0])},
        "confidence": "probability of the class, 0 to 1"
        if saved.has_confidence
        else f"absent: {facts['strategy']} gives no probabilities",
        "checks": list(fit.checks),
        "warnings": fit.warnings,
        "seconds": round(seconds, 3),
        "files": [],
    }
