"""Saved models with random weights, and cubes for them: predicting needs no training."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from orchestrator.execution.model_files import EXAMPLE_SIDE_PX
from orchestrator.execution.saved_model import save_estimator, save_network
from strategies._base import field_values
from strategies.registry import get_strategy

BANDS, CLASSES = 10, 4
WAVELENGTHS_NM = tuple(450.0 + 40 * band for band in range(BANDS))
CLASS_IDS, CLASS_NAMES = (2, 3, 5, 9), ("water", "soil, bare", "grass", "roof")


def made_cube(height: int, width: int, *, seed: int = 0, bands: int = BANDS) -> Any:
    """Reflectance x 10000 in patches of a few pixels, uint16 `[H, W, C]`."""
    generator = np.random.default_rng(seed)
    spectra = generator.uniform(500, 6000, (6, bands))
    coarse = generator.integers(0, 6, (height // 7 + 1, width // 5 + 1))
    which = np.repeat(np.repeat(coarse, 7, axis=0), 5, axis=1)[:height, :width]
    return np.clip(spectra[which] + generator.normal(0, 200, (height, width, bands)), 0, 9000).astype(np.uint16)


def made_facts(name: str, strategy: Any, **changes: Any) -> dict[str, Any]:
    pixels = made_cube(64, 64).reshape(-1, BANDS).astype(float)
    statistics = {
        "mean_C": pixels.mean(0).tolist(),
        "std_C": pixels.std(0).tolist(),
        "minimum_C": pixels.min(0).tolist(),
        "maximum_C": pixels.max(0).tolist(),
    }
    return {
        "strategy": name,
        "fields": field_values(strategy),
        "key": "0123456789abcdef",
        "num_bands": BANDS,
        "wavelengths_nm": WAVELENGTHS_NM,
        "quantity": "surface_reflectance",
        "scale": 10000.0,
        "dataset": "made",
        "dataset_digest": "0" * 16,
        "class_names": CLASS_NAMES,
        "class_ids": CLASS_IDS,
        "normalisation": "per_band_zscore",
        "dropped_bands": (),
        "statistics": statistics,
        "patch_px": 16,
        "example_HWC": made_cube(EXAMPLE_SIDE_PX, EXAMPLE_SIDE_PX),
        **changes,
    }


def made_model(folder: Path, name: str = "in_domain/spectral_cnn", *, classes: int = CLASSES, **changes: Any) -> Path:
    """The folder of a saved model."""
    fields = {"in_domain/unet": {"width": 8}, "in_domain/spectral_cnn": {"width": 8}}.get(name, {})
    strategy = get_strategy(name)(**fields)
    facts = made_facts(name, strategy, **changes)
    if strategy.kind == "estimator":
        cube = made_cube(40, 40).astype(np.float32)
        mean, std = (np.asarray(facts["statistics"][part]) for part in ("mean_C", "std_C"))
        features = strategy.features(((cube - mean) / std).astype(np.float32), np.ones((40, 40), dtype=bool))
        labels = (features.reshape(-1, BANDS) @ np.linspace(-1, 1, BANDS) > 0).astype(np.int64) + 1
        return Path(
            save_estimator(str(folder), "run", features.reshape(-1, BANDS)[::4], labels[::4], {**facts, "seed": 0})
        )
    torch.manual_seed(0)
    model = strategy.build(num_bands=BANDS, wavelengths_nm=WAVELENGTHS_NM, num_classes=classes, image_size=16)
    return Path(save_network(str(folder), "run", model, facts))
