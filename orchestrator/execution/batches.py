"""The training batch of each step: pixels, windows around them, patches or whole images; of spectra or of features."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import torch

from orchestrator.execution.feature_store import FeatureStore
from orchestrator.execution.run_data import RunData
from orchestrator.execution.seat import Seat
from orchestrator.execution.streams import BatchOrder, stream_seed
from orchestrator.execution.windows_of_pixels import UnlabelledPixels
from orchestrator.plan.run_spec import RunSpec
from strategies._base import Strategy


class Batches:
    """Draws every rank's part of the global batch, as a function of the run's seed and the step alone."""

    def __init__(self, data: RunData, spec: RunSpec, strategy: Strategy, features: FeatureStore | None = None) -> None:
        self._data, self._seed, self._features = data, spec.seed, features
        self._window_px = strategy.window_px
        self._is_pixelwise = strategy.receptive_field_px == 1
        self._augmentation = str(spec.train["augmentation"])
        side = int(spec.train.get("patch_size", 1))
        self._is_whole = side == 0 and not self._is_pixelwise and not self._window_px
        if self._window_px or self._is_pixelwise:
            self.patch_px = self._window_px or 1
        else:
            self.patch_px = data.largest_patch(side or max(data.prepared.facts.image_size_px))
        self._order = BatchOrder(
            num_samples=len(data.labelled_images) if self._is_whole else data.num_samples,
            batch_size=int(spec.train["batch_size"]),
            seed=stream_seed(spec.seed, "batch order"),
        )
        self._unlabelled: UnlabelledPixels | None = None
        self._unlabelled_count = strategy.unlabelled_windows
        if self._unlabelled_count:
            masks = [v & i.valid_HW for v, i in zip(data.task.train_visible, data.prepared.images, strict=True)]
            self._unlabelled = UnlabelledPixels(masks)

    def draw(self, step: int, seat: Seat) -> tuple[Any, torch.Tensor]:
        """Inputs on the seat's device, and labels `y_BHW` (int64, -1 = not labelled).

        Inputs are `x_BCHW` (float32), or a `FeatureBatch` where features were extracted.
        """
        indices = self._order.batch(step, seat.rank, seat.world_size)
        seed = stream_seed(self._seed, "patches", step, seat.rank)
        if self._features is not None:
            images = self._data.labelled_images[indices] if self._is_whole else None
            batch, labels = self._features.draw(
                indices, images, side_px=self.patch_px, seed=seed, augmentation=self._augmentation
            )
            levels = [level.to(seat.device).float() for level in batch.levels]
            return replace(batch, levels=levels), torch.from_numpy(labels).to(seat.device)
        x, y = self._spectra(indices, seed)
        return torch.from_numpy(x).to(seat.device), torch.from_numpy(y).to(seat.device)

    def _spectra(self, indices: np.ndarray, seed: int) -> tuple[np.ndarray, np.ndarray]:
        if self._window_px:
            return self._data.labelled_windows(
                indices, side_px=self._window_px, seed=seed, augmentation=self._augmentation
            )
        if self._is_pixelwise:
            return self._data.pixels(indices)
        if self._is_whole:
            images = self._data.labelled_images[indices]
            return self._data.whole(images, seed=seed, augmentation=self._augmentation)
        return self._data.patches(indices, side=self.patch_px, seed=seed, augmentation=self._augmentation)

    def draw_unlabelled(self, step: int, seat: Seat) -> torch.Tensor:
        """Windows `[n, C, p, p]` around pixels of the training side, labelled or not; n = 0 where none are wanted."""
        side_px = max(1, self._window_px)
        if self._unlabelled is None:
            return torch.empty(0, self._data.prepared.facts.num_bands, side_px, side_px, device=seat.device)
        places = self._unlabelled.draw(
            self._unlabelled_count // seat.world_size, stream_seed(self._seed, "unlabelled", step, seat.rank)
        )
        return torch.from_numpy(self._data.windows_at(places, side_px, self._data.task.train_visible)).to(seat.device)
