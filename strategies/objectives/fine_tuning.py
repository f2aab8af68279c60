"""Fine-tuning of window classifiers: cross-entropy with label smoothing on turned and disturbed windows."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies.backbones.window_classifier import WindowClassifier


class FineTuningSettings(NamedTuple):
    """Numbers of a fine-tuning."""

    label_smoothing: float
    turns: bool
    """Whether windows are mirrored and turned by quarters at random."""
    gain: float
    """Windows are multiplied by a number from 1 - gain to 1 + gain."""
    noise: float
    """Standard deviation of the Gaussian noise that is added."""


class FineTuning(nn.Module):
    """Holds `model`; see `Strategy.training_objective`."""

    def __init__(self, model: WindowClassifier, settings: FineTuningSettings) -> None:
        super().__init__()
        self.model, self.settings = model, settings

    def forward(
        self,
        x_BCHW: Tensor,
        y_BHW: Tensor,
        unlabelled_NCpp: Tensor | None = None,  # noqa: ARG002
        progress: float = 0.0,  # noqa: ARG002
    ) -> dict[str, Tensor]:
        """The loss, which is the cross-entropy."""
        features = self.model.window_features(self.disturbed(x_BCHW))
        loss = self.cross_entropy(features, y_BHW)
        return {"loss": loss, "cross_entropy": loss.detach()}

    def after_step(self, progress: float) -> None:
        """Nothing moves along."""

    def cross_entropy(self, features_NF: Tensor, y_BHW: Tensor) -> Tensor:
        """Mean over the labelled windows, label smoothing included; their features come first."""
        labels_B = y_BHW.flatten(1)[:, y_BHW[0].numel() // 2].long()
        logits = self.model.classify_features(features_NF[: len(labels_B)]).float()
        smoothing = self.settings.label_smoothing
        total = functional.cross_entropy(logits, labels_B, ignore_index=-1, reduction="sum", label_smoothing=smoothing)
        return total / (labels_B >= 0).sum().clamp_min(1)

    def disturbed(self, x_NCpp: Tensor) -> Tensor:
        """Windows as the network sees them in training; drawn from torch's generator, of each window on its own."""
        settings, count = self.settings, len(x_NCpp)
        if settings.turns:
            x_NCpp = turned(x_NCpp, torch.randint(8, (count,), device=x_NCpp.device))
        if settings.gain:
            factors = 1 + settings.gain * (2 * torch.rand(count, 1, 1, 1, device=x_NCpp.device) - 1)
            x_NCpp = x_NCpp * factors.to(x_NCpp)
        if settings.noise:
            x_NCpp = x_NCpp + settings.noise * torch.randn_like(x_NCpp)
        return x_NCpp


def turned(x_NCpp: Tensor, way_N: Tensor) -> Tensor:
    """Square windows, each in one of its 8 orientations: 4 quarter turns, with or without mirroring."""
    side = x_NCpp.shape[-1]
    plane = torch.arange(side * side, device=x_NCpp.device).view(side, side)
    ways = [torch.rot90(face, quarter) for face in (plane, plane.flip(1)) for quarter in range(4)]
    order_NP = torch.stack(ways).flatten(1)[way_N]
    values = x_NCpp.flatten(2)
    return values.gather(2, order_NP[:, None].expand_as(values)).view_as(x_NCpp)
