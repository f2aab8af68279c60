"""Features of a frozen backbone, read back: training batches and confusion matrices of what comes above them.

One memory-mapped file an image and level, half precision: `[H, W, F]` where the backbone looks at single pixels,
`[F, h, w]` where it looks at whole images.
"""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from orchestrator.errors import DataError
from orchestrator.execution.evaluation import PIXELS_A_CHUNK, count_units
from orchestrator.execution.pieces import IGNORED
from orchestrator.execution.run_data import RunData
from orchestrator.execution.stage_files import COMPLETE, features_folder
from orchestrator.plan.run_spec import RunSpec
from strategies._base import Strategy


def file_name(image: int, level: int, *, seen: bool = False) -> str:
    """Name of an image's file; `seen`: made from what training may see, where that is less than the image."""
    return f"{image}.{level}{'.seen' if seen else ''}.npy"


@dataclass(frozen=True)
class FeatureBatch:
    """What stands where an image batch would: levels of features, and the size of what they were made from."""

    levels: list[Tensor]
    size_px: tuple[int, int]
    is_single: bool
    """The backbone gives one map and no list."""

    def chunk(self, parts: int) -> list[FeatureBatch]:
        """Like a tensor's `chunk` along the batch."""
        pieces = zip(*(level.chunk(parts) for level in self.levels), strict=True)
        return [FeatureBatch(list(piece), self.size_px, self.is_single) for piece in pieces]


class HeadOfModel(nn.Module):
    """What is trained where features are given: the head alone."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.head = model.head
        self._model = [model]  # in a list: its frozen parts are no part of this module

    def forward(self, batch: FeatureBatch) -> Tensor:
        """Logits `[B, K, H, W]`."""
        return logits_of(self._model[0], batch)


def logits_of(model: Any, batch: FeatureBatch) -> Tensor:
    """Logits `[B, K, H, W]` of a model from its features."""
    found: Tensor = model.logits(batch.levels[0] if batch.is_single else batch.levels, batch.size_px)
    return found


class FeatureStore:
    """The features that one run is trained and scored on."""

    def __init__(self, folders: list[Path], data: RunData, *, is_pixelwise: bool, is_single_pixel: bool) -> None:
        self._data, self._folders = data, folders
        self._maps: dict[tuple[int, int, bool], np.ndarray] = {}
        self._is_pixelwise, self._is_single_pixel = is_pixelwise, is_single_pixel
        # a part without labelled images has no levels
        parts = [json.loads((folder / COMPLETE).read_text()) for folder in folders]
        written = max(parts, key=lambda part: int(part["levels"]))
        self.num_levels, self.is_single = int(written["levels"]), bool(written["is_single"])
        self._masked = [np.asarray(vector, dtype=np.float16) for vector in written["masked"]]

    @classmethod
    def of(cls, spec: RunSpec, job: dict[str, Any], data: RunData, strategy: Strategy) -> FeatureStore | None:
        """The store of a run that builds on extracted features; None for others.

        Raises:
            DataError: the extraction is not whole.
        """
        if spec.stage not in ("search", "final"):
            return None
        stages = [RunSpec.from_json(one) for one in job.get("stages", ())]
        folders = [features_folder(job["storage"], one.key) for one in stages if one.stage == "features"]
        if not folders:
            return None
        for folder in folders:
            if not (folder / COMPLETE).is_file():
                raise DataError(f"features in {folder} are not whole; start the sweep again: they are extracted anew")
        is_single_pixel = strategy.receptive_field_px == 1
        return cls(folders, data, is_pixelwise=strategy.is_pixelwise, is_single_pixel=is_single_pixel)

    def _map(self, image: int, level: int, seen: bool) -> np.ndarray:
        key = (image, level, seen)
        if key not in self._maps:
            self._maps[key] = self._open(image, level, seen)
        return self._maps[key]

    def _open(self, image: int, level: int, seen: bool) -> np.ndarray:
        folder = self._folders[image % len(self._folders)]
        path = folder / file_name(image, level, seen=seen)
        if seen and not path.is_file():
            path = folder / file_name(image, level)
        found: np.ndarray = np.load(path, mmap_mode="r", allow_pickle=False)
        return found

    def _read(self, level: int, image: int, rows: slice, columns: slice) -> np.ndarray:
        """A window of pixelwise features `[h, w, F]`; what training must not see is what a spectrum of zeros gives."""
        window = np.asarray(self._map(image, level, False)[rows, columns])
        visible = self._data.task.train_visible[image][rows, columns, None]
        return window if visible.all() else np.where(visible, window, self._masked[level])

    def draw(
        self, indices: np.ndarray, images: np.ndarray | None, *, side_px: int, seed: int, augmentation: str
    ) -> tuple[FeatureBatch, np.ndarray]:
        """Features and labels `[n, h, w]` of training samples (or of whole `images`)."""
        if self._is_single_pixel:
            return self._pixels(indices)
        if not self._is_pixelwise:
            return self._images(self._data.places(indices)[:, 0] if images is None else images)
        levels = []
        for level in range(self.num_levels):
            read = functools.partial(self._read, level)
            if images is None:
                made, labels = self._data.patches(
                    indices, side=side_px, seed=seed, augmentation=augmentation, read=read
                )
            else:
                made, labels = self._data.whole(images, seed=seed, augmentation=augmentation, read=read)
            levels.append(torch.from_numpy(made))
        return FeatureBatch(levels, (labels.shape[1], labels.shape[2]), self.is_single), labels

    def _pixels(self, indices: np.ndarray) -> tuple[FeatureBatch, np.ndarray]:
        places = self._data.places(indices)
        labels = [self._data.task.train_labels[image][row, column] for image, row, column in places]
        levels = []
        for level in range(self.num_levels):
            rows = [self._map(int(image), level, False)[row, column] for image, row, column in places]
            levels.append(torch.from_numpy(np.stack(rows))[:, :, None, None])
        return FeatureBatch(levels, (1, 1), self.is_single), np.array(labels, dtype=np.int64)[:, None, None]

    def _images(self, images: np.ndarray) -> tuple[FeatureBatch, np.ndarray]:
        labels = [self._data.task.train_labels[int(image)] for image in images]
        if len({one.shape for one in labels}) > 1:
            raise DataError(
                f"images of {self._data.prepared.facts.name} differ in size, and features of several levels cannot be "
                "put into one batch; set train.batch_size=1 or train.feature_cache=false"
            )
        levels = [
            torch.from_numpy(np.stack([self._map(int(image), level, True) for image in images]))
            for level in range(self.num_levels)
        ]
        size_px = (int(labels[0].shape[0]), int(labels[0].shape[1]))
        return FeatureBatch(levels, size_px, self.is_single), np.stack(labels).astype(np.int64)

    # ---- scoring

    def confusion(
        self,
        model: nn.Module,
        side: str,
        device: torch.device,
        autocast: Callable[[], Any],
        *,
        rank: int = 0,
        world_size: int = 1,
    ) -> np.ndarray:
        """This rank's share of the confusion matrices; see `evaluation.confusion_of_network`."""
        data = self._data
        num_units = data.num_units(side)
        total = np.zeros((num_units, data.num_outputs, data.num_outputs), dtype=np.int64)
        model.eval()
        with torch.inference_mode():
            for number, piece in enumerate(data.pieces(side)):
                scored = piece.labels_HW != IGNORED
                target, units = piece.labels_HW[scored], piece.units_HW[scored]
                if self._is_single_pixel:
                    mine = slice(rank, None, world_size)
                    rows, columns = (places[mine] for places in np.nonzero(scored))
                    target, units = target[mine], units[mine]
                    top, left = piece.rows.start or 0, piece.columns.start or 0
                    predicted = self._predict_pixels(model, piece.image, rows + top, columns + left, device, autocast)
                elif number % world_size == rank:
                    batch = self._whole(piece.image, piece.rows, piece.columns, device)
                    with autocast():
                        predicted = logits_of(model, batch)[0].argmax(0).cpu().numpy()[scored]
                else:
                    continue
                units = units if side == "test" else np.zeros_like(units)
                total += count_units(
                    units.astype(np.int64), target, predicted, num_units=num_units, num_classes=data.num_outputs
                )
        return total

    def _predict_pixels(
        self,
        model: nn.Module,
        image: int,
        rows: np.ndarray,
        columns: np.ndarray,
        device: torch.device,
        autocast: Callable[[], Any],
    ) -> np.ndarray:
        parts = [np.empty(0, dtype=np.int64)]
        for first in range(0, len(rows), PIXELS_A_CHUNK):
            at = slice(first, first + PIXELS_A_CHUNK)
            levels = [
                torch.from_numpy(np.asarray(self._map(image, level, False)[rows[at], columns[at]]))
                .to(device)
                .float()[:, :, None, None]
                for level in range(self.num_levels)
            ]
            with autocast():
                logits = logits_of(model, FeatureBatch(levels, (1, 1), self.is_single))
            parts.append(logits.argmax(1).flatten().cpu().numpy())
        return np.concatenate(parts)

    def _whole(self, image: int, rows: slice, columns: slice, device: torch.device) -> FeatureBatch:
        levels = []
        for level in range(self.num_levels):
            found = self._map(image, level, False)
            if self._is_pixelwise:
                found = np.ascontiguousarray(found[rows, columns].transpose(2, 0, 1))
            levels.append(torch.from_numpy(np.array(found))[None].to(device).float())
        height, width = self._data.prepared.images[image].labels_HW[rows, columns].shape
        return FeatureBatch(levels, (height, width), self.is_single)
