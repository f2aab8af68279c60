"""The files of a trained model's folder, read back: `config.json` and safetensors beside it, no pickle."""

from __future__ import annotations

import importlib
import json
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.errors import DataError

CONFIG, WEIGHTS, TRAINING_SET = "config.json", "model.safetensors", "training_set.safetensors"
EXAMPLE = "example.safetensors"
"""A few pixels of the training side, in the data set's own numbers."""
EXAMPLE_SIDE_PX = 8


def read_facts(folder: Path) -> dict[str, Any]:
    """What `config.json` says of a model.

    Raises:
        DataError: it is absent, or not one of this tool's.
    """
    file = folder / CONFIG
    try:
        facts: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise DataError(f"{folder} holds no model: {CONFIG} is not there; name a folder that export wrote") from error
    except (OSError, ValueError) as error:
        raise DataError(f"{file} cannot be read ({error}); export the model again") from error
    needed = ("strategy", "fields", "kind", "num_bands", "class_names", "class_ids", "statistics", "normalisation")
    absent = [name for name in needed if not isinstance(facts, dict) or name not in facts]
    if absent:
        raise DataError(f"{file} does not describe a model: it lacks {', '.join(absent)}; export the model again")
    return facts


def read_tensors(file: Path, *, framework: str) -> dict[str, Any]:
    """Arrays of a safetensors file, as "torch" tensors or "numpy" arrays.

    Raises:
        DataError: it is absent, cut short or damaged.
    """
    from safetensors import SafetensorError

    load = importlib.import_module(f"safetensors.{framework}").load_file
    try:
        return dict(load(file))
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} is absent or damaged ({error}); export the model again") from error


def example_of(folder: Path) -> tuple[np.ndarray, bool]:
    """A small raw cube `[h, w, C]`, float32, and whether its pixels are real.

    Folders of earlier versions hold none; for them spectra are made from the band statistics.
    """
    if (folder / EXAMPLE).is_file():
        return read_tensors(folder / EXAMPLE, framework="numpy")["cube"].astype(np.float32), True
    statistics = read_facts(folder)["statistics"]
    mean_C, std_C = np.asarray(statistics["mean_C"]), np.asarray(statistics["std_C"])
    steps_HW1 = np.linspace(-1, 1, EXAMPLE_SIDE_PX**2).reshape(EXAMPLE_SIDE_PX, EXAMPLE_SIDE_PX, 1)
    made = mean_C + steps_HW1 * std_C
    return np.clip(made, statistics["minimum_C"], statistics["maximum_C"]).astype(np.float32), False
