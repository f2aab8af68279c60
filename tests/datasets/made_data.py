"""Small made scenes and the files that a user might have of them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import yaml

SETTINGS = {
    "name": "made",
    "domain": "remote",
    "sensor": "a random generator",
    "quantity": "raw",
    "bands": 6,
    "image_size_px": [40, 48],
    "classes": {1: "stripes", 2: "field", 3: "rest"},
}


def made_scene(seed: int = 0, height: int = 40, width: int = 48, bands: int = 6) -> tuple[Any, Any]:
    """A cube [H, W, C] uint16 and labels in stripes, a tenth of them unlabelled."""
    generator = np.random.default_rng(seed)
    labels = (np.add.outer(np.arange(height) // 3, np.arange(width) // 5) % 3 + 1).astype(np.uint8)
    labels[generator.random(labels.shape) < 0.1] = 0
    cube = generator.integers(0, 1000, (height, width, bands)) + labels[:, :, None].astype(np.int64) * 500
    return cube.astype(np.uint16), labels


def write_yaml(folder: Path, **changes: Any) -> Path:
    """A data set YAML for `cube.npy` and `labels.npy` in the folder; None removes a key."""
    settings = {**SETTINGS, "images": [{"cube": "cube.npy", "labels": "labels.npy"}], **changes}
    path = folder / "dataset.yaml"
    path.write_text(yaml.safe_dump({key: value for key, value in settings.items() if value is not None}))
    return path


CODES = {"uint8": 1, "int16": 2, "int32": 3, "float32": 4, "float64": 5, "uint16": 12}


def write_envi(
    folder: Path, name: str, cube: Any, *, interleave: str = "bsq", byte_order: int = 0, more: str = ""
) -> Path:
    """An ENVI pair with header offset 16."""
    height, width, bands = cube.shape
    order = {"bsq": (2, 0, 1), "bil": (0, 2, 1), "bip": (0, 1, 2)}[interleave]
    stored = cube.transpose(order).astype(cube.dtype.newbyteorder(">" if byte_order else "<"))
    (folder / f"{name}.raw").write_bytes(b"\0" * 16 + stored.tobytes())
    header = folder / f"{name}.hdr"
    header.write_text(
        f"ENVI\ndescription = {{\n  a made cube, bands = 99 }}\nsamples = {width}\nlines   = {height}\n"
        f"bands = {bands}\n"
        f"header offset = 16\nfile type = ENVI Standard\ndata type = {CODES[cube.dtype.name]}\n"
        f"interleave = {interleave}\nbyte order = {byte_order}\n{more}"
    )
    return header
