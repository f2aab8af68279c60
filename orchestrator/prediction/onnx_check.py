"""Make an ONNX graph of a network and compare it with the original on real pixels; say why where it cannot be made."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import SweepError
from orchestrator.execution.model_files import example_of
from orchestrator.prediction.models import FoundModel
from orchestrator.prediction.onnx_graph import INPUT, ODD_SIZE_PX, OPSET

GRAPH = "model.onnx"
NEEDED = ("onnx", "onnxscript", "onnxruntime")
TIME_LIMIT_S = 90.0
"""For one try: tracing with free height and width does not end for some networks."""
WINDOW_PX = 64
FIXED_SIDE_PX = 128
TOLERANCE = 1e-3
"""Largest difference of logits, as a share of the largest logit, that is taken for rounding."""


def export_onnx(model: FoundModel, saved: Any, folder: Path, plugins: Sequence[Path] = ()) -> dict[str, Any]:
    """Write `model.onnx` in the folder, if that works; what came of it, as plain data.

    Args:
        model: from `find_model`.
        saved: the same, loaded.
        folder: where the graph goes; exists.
        plugins: files with strategies that are not packaged.
    """
    absent = [name for name in NEEDED if find_spec(name) is None]
    if not saved.is_network:
        return _none(f"{model.facts['strategy']} is no network: it is fitted again from its training set when loaded")
    if absent:
        return _none(f"{', '.join(absent)} not installed; run: pip install 'hsfm-sweep[onnx]'")
    window_HWC, source = real_window(model)
    reasons: list[str] = []
    for side_px in (None, FIXED_SIDE_PX):
        size = "any height and width" if side_px is None else f"{side_px} x {side_px} px"
        reason = _trace(model.folder, folder / GRAPH, side_px, plugins)
        if not reason:
            try:
                compared = _compare(saved, folder / GRAPH, window_HWC, side_px)
            except Exception as error:  # onnxruntime has no exception of its own that all its errors share
                compared, reason = {}, f"onnxruntime: {str(error).strip().splitlines()[0]}"
            else:
                if compared["agrees"]:
                    made = {"file": GRAPH, "opset": OPSET, "size": size, "window": source, **compared}
                    return made | {"reason": "; ".join(reasons)}
                reason = f"its logits differ by up to {compared['max_difference']:.3g}"
        reasons.append(f"for {size}: {reason}")
        (folder / GRAPH).unlink(missing_ok=True)
    return _none("; ".join(reasons))


def _none(reason: str) -> dict[str, Any]:
    return {"file": None, "reason": reason}


def _trace(model_folder: Path, file: Path, side_px: int | None, plugins: Sequence[Path]) -> str:
    """Make the graph in a process of its own; why it failed, or ""."""
    command = [sys.executable, "-m", "orchestrator.prediction.onnx_graph", str(model_folder), str(file)]
    command += [str(side_px or 0), *map(str, plugins)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(p for p in sys.path if p)}
    try:
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIME_LIMIT_S, env=environment, check=False
        )
    except subprocess.TimeoutExpired:
        return f"tracing did not end within {TIME_LIMIT_S:.0f} s"
    if done.returncode == 0 and file.is_file():
        return ""
    lines = [line.strip() for line in done.stderr.splitlines() if line.strip()]
    return lines[-1][:300] if lines else f"tracing ended with status {done.returncode}"


def _compare(saved: Any, file: Path, window_HWC: NDArray[np.float32], side_px: int | None) -> dict[str, Any]:
    """Logits and labels of both on the window, and on one of odd size where the graph takes any."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    if side_px is not None:
        windows = [_fill(window_HWC, side_px, side_px)]
    else:
        windows = [window_HWC, _fill(window_HWC, *ODD_SIZE_PX), window_HWC[:1, :1]]
    difference, largest, unequal, pixels = 0.0, 0.0, 0, 0
    for window in windows:
        wanted_KHW = saved.logits(window)
        (found_BKHW,) = session.run(None, {INPUT: np.ascontiguousarray(window.transpose(2, 0, 1))[None]})
        difference = max(difference, float(np.abs(found_BKHW[0] - wanted_KHW).max()))
        largest = max(largest, float(np.abs(wanted_KHW).max()))
        unequal += int((found_BKHW[0].argmax(0) != wanted_KHW.argmax(0)).sum())
        pixels += wanted_KHW[0].size
    return {
        "max_difference": difference,
        "labels_unequal": unequal,
        "pixels_compared": pixels,
        "sizes_px": [list(window.shape[:2]) for window in windows],
        # A pixel on the border of two classes may fall to either side by rounding.
        "agrees": bool(difference <= TOLERANCE * max(largest, 1.0) and unequal <= pixels // 1000),
    }


def _fill(window_HWC: NDArray[np.float32], height: int, width: int) -> NDArray[np.float32]:
    """The window cut, or repeated, to a size."""
    rows, columns = np.arange(height) % window_HWC.shape[0], np.arange(width) % window_HWC.shape[1]
    return window_HWC[rows][:, columns]


def real_window(model: FoundModel, locations: DataLocations | None = None) -> tuple[NDArray[np.float32], str]:
    """Some raw pixels `[h, w, C]` and their source: the data set where it is prepared here, else the example."""
    from orchestrator.datasets._manifest import prepared_folder, read_manifest
    from orchestrator.datasets.registry import definition_at
    from orchestrator.datasets.store import open_prepared

    locations = locations or DataLocations.from_environment()
    try:
        folder = prepared_folder(definition_at(model.facts["dataset"], locations), locations.prepared)
        manifest = read_manifest(folder)
        if manifest is not None and manifest["digest"] == model.facts.get("dataset_digest"):
            image = open_prepared(folder).images[0]
            top, left = (max(0, (size - WINDOW_PX) // 2) for size in image.valid_HW.shape)
            window = image.cube_HWC[top : top + WINDOW_PX, left : left + WINDOW_PX]
            height, width = window.shape[:2]
            return window.astype(np.float32), f"{height} x {width} px of image {image.name} of {model.facts['dataset']}"
    except (SweepError, OSError):
        pass  # a user's data set is known by its file's path only, and the data need not be here
    example, is_real = example_of(model.folder)
    where = "pixels of the training side, kept with the model" if is_real else "spectra made from the band statistics"
    return example, f"{example.shape[0]} x {example.shape[1]} px, {where}"
