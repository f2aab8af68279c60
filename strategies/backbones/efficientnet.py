"""EfficientNet-lite0 as a pyramid of features (timm), and the projection of many bands to its three channels."""

from __future__ import annotations

from typing import Any

import numpy as np
import timm
import torch
from torch import Tensor, nn

from strategies._base import StrategyError
from strategies.backbones.principal_axes import principal_axes

CHANNELS = (16, 24, 40, 112, 1280)
"""Channels of the levels, at 1/2, 1/4, 1/8, 1/16 and 1/32 of the input's resolution."""
LEVEL_ENDS = (0, 1, 2, 4, 6)
"""Stages after which a level is taken; the last one goes through the final 1x1 convolution as well."""
STRIDE = 32
"""Pixels of the input a pixel of the coarsest level."""
INPUT_STD = 0.5
"""Spread of a channel of a natural image after the normalisation of the pretraining (mean = std = 0.5)."""


class Lite0Pyramid(nn.Module):
    """timm's `tf_efficientnet_lite0` without its classifier, under timm's names; returns five levels of features."""

    def __init__(self) -> None:
        super().__init__()
        model: Any = timm.create_model("tf_efficientnet_lite0", pretrained=False, num_classes=0)
        self.conv_stem, self.bn1, self.blocks = model.conv_stem, model.bn1, model.blocks
        self.conv_head, self.bn2 = model.conv_head, model.bn2

    def forward(self, x_B3HW: Tensor) -> list[Tensor]:
        """Feature maps, the finest first; sizes are rounded up.

        Raises:
            StrategyError: a training batch that leaves a single value a channel at the coarsest level.
        """
        deepest = x_B3HW.shape[0] * -(-x_B3HW.shape[-2] // STRIDE) * -(-x_B3HW.shape[-1] // STRIDE)
        if self.training and deepest < 2:
            size = " x ".join(map(str, x_B3HW.shape[-2:]))
            raise StrategyError(
                f"one patch of {size} pixels a worker is too little to train EfficientNet-lite0's BatchNorm; allowed: "
                f"2 patches a worker or patches larger than {STRIDE} pixels; raise train.batch_size or train.patch_size"
            )
        x, levels = self.bn1(self.conv_stem(x_B3HW)), []
        for stage, blocks in enumerate(self.blocks):
            x = blocks(x)
            if stage in LEVEL_ENDS[:-1]:
                levels.append(x)
        return [*levels, self.bn2(self.conv_head(x))]


class BandProjection(nn.Conv2d):
    """A 1x1 convolution from bands to three channels."""

    def __init__(self, num_bands: int) -> None:
        super().__init__(num_bands, 3, kernel_size=1)

    @torch.no_grad()
    def fit(self, spectra_NC: np.ndarray) -> None:
        """Set the weights to the first three principal components, each scaled to the range that the backbone knows.

        Every component gets mean 0 and standard deviation `INPUT_STD`, so that most values lie in [-1, 1].
        """
        found = principal_axes(spectra_NC, 3)
        weights_3C = found.axes_PC * found.scales_to(INPUT_STD)[:, None]
        self.weight.copy_(torch.from_numpy(weights_3C).to(self.weight.dtype)[:, :, None, None])
        if self.bias is not None:
            self.bias.copy_(torch.from_numpy(-weights_3C @ found.mean_C).to(self.bias.dtype))


class ChannelsLast(nn.Module):
    """Hands its input on with the channels last in memory, where convolutions are faster on CPU."""

    def __init__(self, projection: BandProjection) -> None:
        super().__init__()
        self.projection = projection

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Three channels `[B, 3, H, W]`."""
        projected: Tensor = self.projection(x_BCHW)
        return projected.contiguous(memory_format=torch.channels_last)
