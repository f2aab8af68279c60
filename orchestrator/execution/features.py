"""Extract the features of a frozen backbone once, for all cells, seeds and heads that share them.

Every rank does its own images; a file is filled from the top down, and how far it is is written after each strip, so
that a killed extraction goes on where it was.
"""

from __future__ import annotations

import contextlib
import json
import os
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from orchestrator.errors import DataError
from orchestrator.execution.feature_store import file_name
from orchestrator.execution.model_building import build_seeded
from orchestrator.execution.pieces import IGNORED
from orchestrator.execution.run_data import RunData
from orchestrator.execution.seat import Seat
from orchestrator.execution.stage_files import COMPLETE, features_folder
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.run_spec import RunSpec
from strategies._base import Strategy

IMPLEMENTATION_VERSION = 1
PIXELS_AT_ONCE = 1024
STRIP_PIXELS = 16_384
_ANY_LABELS = LabelBudget(kind="k_shot", value=1.0, sampler="k_shot")


class FeatureRun:
    """One rank's share of an extraction."""

    can_split = False

    def __init__(self, spec: RunSpec, job: dict[str, Any], strategy: Strategy, seat: Seat) -> None:
        self.spec, self.job, self.strategy, self.seat = spec, job, strategy, seat
        # labels play no part; any draw of them says which pixels training may see
        self.data = RunData(replace(spec, label_budget=_ANY_LABELS), job["prepared_path"])
        self.model = build_seeded(spec.seed, job, strategy, self.data, image_size=1).to(seat.device).eval()
        self.model.requires_grad_(False)
        self.folder = features_folder(job["storage"], spec.key)
        self.is_single = False
        self.num_levels = 0

    def run(self) -> dict[str, Any]:
        """Extract what is missing; the event that ends the segment."""
        started = time.perf_counter()
        self.folder.mkdir(parents=True, exist_ok=True)
        with torch.inference_mode():
            masked = self._masked_vectors()
            extract = self._pixels if self.strategy.is_pixelwise else self._whole
            reason = next((why for image in self._images() if (why := extract(image))), "")
        # ranks are asked to stop one by one, and go home together
        reasons = self.seat.gather(reason)
        if any(reasons):
            return {"kind": "cancelled", "reason": next(filter(None, reasons)), "step": 0}
        size_gib = float(self.seat.sum(np.array([self._written_gib()]))[0]) / self.seat.world_size
        if self.seat.rank == 0:
            written = {"levels": self.num_levels, "is_single": self.is_single, "masked": masked, "gib": size_gib}
            _write_text(self.folder / COMPLETE, json.dumps(written))
        self.seat.barrier()
        facts = {"bands_used": self.data.prepared.facts.num_bands, "device": self.seat.device.type}
        scores = {"features/gib": size_gib}
        seconds = time.perf_counter() - started
        return {"kind": "reached", "step": 1, "scores": scores, "facts": facts, "seconds": seconds}

    def _images(self) -> Iterator[int]:
        """This rank's images of this shard, those with labels or with pixels that training sees."""
        shard, shards = int(self.spec.train["shard"]), int(self.spec.train["shards"])
        number = 0
        for image, one in enumerate(self.data.prepared.images):
            if image % shards != shard or not (one.labels_HW != IGNORED).any():
                continue
            if number % self.seat.world_size == self.seat.rank:
                yield image
            number += 1

    def _features(self, x_BCHW: np.ndarray) -> list[Tensor]:
        half = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(str(self.spec.train.get("precision")))
        context = torch.autocast(self.seat.device.type, dtype=half) if half else contextlib.nullcontext()
        with context:
            found = self.model.features(torch.from_numpy(x_BCHW).to(self.seat.device))  # type: ignore[operator]
        self.is_single = isinstance(found, Tensor)
        levels = [found] if isinstance(found, Tensor) else list(found)
        self.num_levels = len(levels)
        return levels

    def _masked_vectors(self) -> list[list[float]]:
        """What a spectrum of zeros gives, which is what training is shown of pixels that it must not see."""
        if not self.strategy.is_pixelwise:
            return []
        zeros = np.zeros((1, self.data.prepared.facts.num_bands, 1, 1), dtype=np.float32)
        return [half_precision(level)[0, :, 0, 0].tolist() for level in self._features(zeros)]

    # ---- single pixels

    def _pixels(self, image: int) -> str:
        """Features of an image's pixels, strip by strip; why to stop, or ""."""
        source = self.data.prepared.images[image]
        wanted = source.valid_HW
        if self.spec.train["pixels"] == "labelled":
            wanted = wanted & (source.labels_HW != IGNORED)
        height, width = wanted.shape
        note = self.folder / f"{image}.rows.json"
        done = json.loads(note.read_text())["rows"] if note.is_file() else 0
        rows_at_once = max(1, STRIP_PIXELS // width)
        maps: list[np.ndarray] = []
        for first in range(done, height, rows_at_once):
            rows = slice(first, min(height, first + rows_at_once))
            spectra_NC = self.data.normalised(image, rows, slice(None))[wanted[rows]]
            for start in range(0, len(spectra_NC), PIXELS_AT_ONCE):
                part = np.ascontiguousarray(spectra_NC[start : start + PIXELS_AT_ONCE])[:, :, None, None]
                levels = [half_precision(level)[:, :, 0, 0] for level in self._features(part)]
                maps = maps or [self._open(image, n, (height, width, one.shape[1])) for n, one in enumerate(levels)]
                places = np.argwhere(wanted[rows])[start : start + PIXELS_AT_ONCE]
                for kept, level in zip(maps, levels, strict=True):
                    kept[places[:, 0] + first, places[:, 1]] = level
                if reason := self._ask():
                    return reason
            for kept in maps:
                kept.flush()  # type: ignore[attr-defined]
            _write_text(note, json.dumps({"rows": rows.stop}))
        return ""

    def _open(self, image: int, level: int, shape: tuple[int, int, int]) -> np.ndarray:
        path = self.folder / file_name(image, level)
        if path.is_file():
            found: np.ndarray = np.load(path, mmap_mode="r+", allow_pickle=False)
            if found.shape == shape:
                return found
        made: np.ndarray = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
        return made

    # ---- whole images

    def _whole(self, image: int) -> str:
        """Features of a whole image, and once more of what training may see of it where that is less."""
        everything = slice(None)
        visible = self.data.task.train_visible[image]
        variants = {False: self.data.normalised}
        if visible.any() and not visible.all():
            variants[True] = self.data.seen
        for seen, read in variants.items():
            if (self.folder / file_name(image, self.num_levels - 1, seen=seen)).is_file() and self.num_levels:
                continue
            x_BCHW = np.ascontiguousarray(read(image, everything, everything).transpose(2, 0, 1))[None]
            for level, found in enumerate(self._features(x_BCHW)):
                path = self.folder / file_name(image, level, seen=seen)
                unfinished = path.with_suffix(".part")
                with unfinished.open("wb") as stream:
                    np.save(stream, half_precision(found)[0], allow_pickle=False)
                os.replace(unfinished, path)
        return self._ask()

    def _ask(self) -> str:
        """Why to stop, or "". Ranks are not in step here: each asks for itself."""
        return self.seat.tell({"kind": "tick"})

    def _written_gib(self) -> float:
        return sum(path.stat().st_blocks * 512 for path in self.folder.glob("*.npy")) / 2**30


def half_precision(features: Tensor) -> np.ndarray:
    """Features as float16 on the CPU.

    Raises:
        DataError: a value that half precision cannot hold.
    """
    values = features.detach().float().cpu().numpy()
    with np.errstate(over="ignore"):
        made: np.ndarray = values.astype(np.float16)
    if not np.isfinite(made).all():
        raise DataError(
            f"features of up to {np.abs(values).max():g} do not fit half precision (65504); set "
            "train.feature_cache=false, so that they are computed in each run"
        )
    return made


def _write_text(path: Path, text: str) -> None:
    unfinished = path.with_name(f"{path.name}.part")
    unfinished.write_text(text)
    os.replace(unfinished, path)
