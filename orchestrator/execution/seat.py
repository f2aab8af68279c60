"""What a training needs beside its run: a rank's place in the group, what a checkpoint carries, the schedules."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import nn


@dataclass
class Seat:
    """A rank's place in its worker group."""

    rank: int
    world_size: int
    device: torch.device
    tell: Callable[[dict[str, Any]], str]
    """Sends progress to the driver, from rank 0 only; answers "" to go on, else why to stop."""
    first: Callable[[Callable[[], Any]], Any]
    """Calls a function on rank 0 and gives every rank its value."""

    def sum(self, values: np.ndarray) -> np.ndarray:
        """Element-wise sum of an array over all ranks."""
        if self.world_size == 1:
            return values
        tensor = torch.from_numpy(values).to(self.device)
        dist.all_reduce(tensor)
        summed: np.ndarray = tensor.cpu().numpy()
        return summed

    def share_buffers(self, model: nn.Module) -> None:
        """BatchNorm statistics drift apart between ranks after the last forward pass: rank 0's count."""
        if self.world_size > 1:
            for buffer in model.buffers():
                dist.broadcast(buffer, 0)

    def barrier(self) -> None:
        """Wait for all ranks."""
        if self.world_size > 1:
            dist.barrier()


@dataclass
class Progress:
    """What a checkpoint carries beside the model."""

    step: int = 0
    seconds: float = 0.0
    best_score: float | None = None
    best_step: int = 0
    best_state: dict[str, torch.Tensor] | None = None
    scores: dict[str, float] = field(default_factory=dict)
    loss_sum: float = 0.0
    """Training losses since the last evaluation."""
    loss_steps: int = 0


def learning_rate_factor(step: int, steps: int, warmup_fraction: float) -> float:
    """Linear warm-up, then a cosine to zero; `step` is 0-based."""
    warmup = max(1, round(steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
