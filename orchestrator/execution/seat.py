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

    def gather(self, value: str) -> list[str]:
        """A text of every rank, on every rank."""
        if self.world_size == 1:
            return [value]
        values: list[Any] = [None] * self.world_size
        dist.all_gather_object(values, value)
        return [str(one) for one in values]

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
    term_sums: dict[str, float] = field(default_factory=dict)
    """Parts of a strategy's own loss since the last evaluation, of rank 0."""
    fruitless: int = 0
    """Evaluations in a row without a better validation score."""
    history: list[dict[str, Any]] = field(default_factory=list)
    """Every evaluation: step, time_ms, scores. A driver that died may not have written down the newest ones."""
    is_over: bool = False
    """Stopped early: the rest of the steps is not trained."""

    def judge(self, score: float | None, model: nn.Module, *, always: bool, patience: int) -> None:
        """Keep the weights if they are the best so far (or `always`); stop early after `patience` that are not."""
        if always or self.best_score is None or (score is not None and score > self.best_score):
            self.best_score, self.best_step, self.fruitless = score, self.step, 0
            self.best_state = {name: value.detach().cpu().clone() for name, value in model.state_dict().items()}
        else:
            self.fruitless += 1
        self.is_over = 0 < patience <= self.fruitless


def learning_rate_factor(step: int, steps: int, warmup_fraction: float, schedule: str = "cosine") -> float:
    """Linear warm-up, then a cosine to zero or a constant; `step` is 0-based."""
    warmup = round(steps * warmup_fraction) if schedule == "constant" else max(1, round(steps * warmup_fraction))
    if step < warmup:
        return (step + 1) / warmup
    if schedule == "constant":
        return 1.0
    return 0.5 * (1 + math.cos(math.pi * (step - warmup) / max(1, steps - warmup)))
