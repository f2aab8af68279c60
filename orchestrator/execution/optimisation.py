"""AdamW with the strategy's parameter groups, the learning rate's schedule, clipping, and scaled gradients for fp16."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn

from orchestrator.execution.seat import learning_rate_factor


class Optimisation:
    """Everything between gradients and weights; its state is part of a checkpoint."""

    def __init__(
        self, model: nn.Module, groups: list[dict[str, Any]], train: Mapping[str, Any], device: torch.device
    ) -> None:
        self._steps = int(train["steps"])
        self._warmup_fraction = float(train["warmup_fraction"])
        self._schedule = str(train.get("schedule", "cosine"))
        self._clip_norm = float(train["gradient_clip_norm"])
        self._parameters = [p for p in model.parameters() if p.requires_grad]
        self._base_rates = [float(group["lr"]) for group in groups]
        self._optimizer = torch.optim.AdamW(groups, weight_decay=float(train["weight_decay"]))
        self.scaler = torch.amp.GradScaler(device.type, enabled=train["precision"] == "fp16")

    def prepare(self, step: int) -> None:
        """Set the learning rates of a step (0-based) and clear the gradients."""
        factor = learning_rate_factor(step, self._steps, self._warmup_fraction, self._schedule)
        for group, rate in zip(self._optimizer.param_groups, self._base_rates, strict=True):
            group["lr"] = rate * factor
        self.clear()

    def clear(self) -> None:
        """Drop the gradients."""
        self._optimizer.zero_grad(set_to_none=True)

    def apply(self) -> None:
        """Clip the gradients and take the step."""
        if self._clip_norm > 0:
            self.scaler.unscale_(self._optimizer)
            nn.utils.clip_grad_norm_(self._parameters, self._clip_norm)
        self.scaler.step(self._optimizer)
        self.scaler.update()

    def state_dict(self) -> dict[str, Any]:
        """What a resume needs."""
        return {"optimizer": self._optimizer.state_dict(), "scaler": self.scaler.state_dict()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        self._optimizer.load_state_dict(state["optimizer"])
        self.scaler.load_state_dict(state.get("scaler", {}))
