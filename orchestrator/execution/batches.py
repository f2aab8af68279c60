"""The training batch of each step: pixels for strategies that look at one, patches or images for the others."""

from __future__ import annotations

import torch

from orchestrator.execution.run_data import RunData
from orchestrator.execution.seat import Seat
from orchestrator.execution.streams import BatchOrder, stream_seed
from orchestrator.plan.run_spec import RunSpec


class Batches:
    """Draws every rank's part of the global batch, as a function of the run's seed and the step alone."""

    def __init__(self, data: RunData, spec: RunSpec, *, is_pixelwise: bool) -> None:
        self._data, self._seed, self._is_pixelwise = data, spec.seed, is_pixelwise
        self._augmentation = str(spec.train["augmentation"])
        side = int(spec.train.get("patch_size", 1))
        self._is_whole = side == 0 and not is_pixelwise
        self.patch_px = 1 if is_pixelwise else data.largest_patch(side or max(data.prepared.facts.image_size_px))
        self._order = BatchOrder(
            num_samples=len(data.labelled_images) if self._is_whole else data.num_samples,
            batch_size=int(spec.train["batch_size"]),
            seed=stream_seed(spec.seed, "batch order"),
        )

    def draw(self, step: int, seat: Seat) -> tuple[torch.Tensor, torch.Tensor]:
        """Inputs `x_BCHW` (float32) and labels `y_BHW` (int64, -1 = not labelled) on the seat's device."""
        indices = self._order.batch(step, seat.rank, seat.world_size)
        if self._is_pixelwise:
            x, y = self._data.pixels(indices)
        else:
            seed = stream_seed(self._seed, "patches", step, seat.rank)
            if self._is_whole:
                images = self._data.labelled_images[indices]
                x, y = self._data.whole(images, seed=seed, augmentation=self._augmentation)
            else:
                x, y = self._data.patches(indices, side=self.patch_px, seed=seed, augmentation=self._augmentation)
        return torch.from_numpy(x).to(seat.device), torch.from_numpy(y).to(seat.device)
