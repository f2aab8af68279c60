"""A U-Net of any depth for any number of bands and any height and width."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies.heads import ChannelNorm


class UNetModel(nn.Module):
    """Maps `x_BCHW` to logits `[B, K, H, W]`; inputs are padded inside to a multiple of `2 ** depth`.

    Padding repeats the edge rather than adding zeros, and coarse features are repeated rather than interpolated, so
    that the receptive field is exactly what the strategy states. It has no BatchNorm: see `ChannelNorm`.
    """

    def __init__(self, num_bands: int, num_classes: int, *, width: int, depth: int, dropout: float) -> None:
        super().__init__()
        channels = [width * 2**level for level in range(depth + 1)]
        self.multiple = 2**depth
        self.reduce = nn.Sequential(nn.Conv2d(num_bands, width, kernel_size=1), ChannelNorm(width))
        self.encode = nn.ModuleList(_block(channels[max(level - 1, 0)], channels[level]) for level in range(depth + 1))
        self.up = nn.ModuleList(
            nn.Conv2d(channels[level + 1], channels[level], kernel_size=1) for level in range(depth)
        )
        self.decode = nn.ModuleList(_block(2 * channels[level], channels[level]) for level in range(depth))
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits of each pixel."""
        height, width = x_BCHW.shape[-2:]
        padding = (0, -width % self.multiple, 0, -height % self.multiple)
        x = functional.pad(x_BCHW, padding, mode="replicate") if any(padding) else x_BCHW
        # convolutions and ChannelNorm both run faster on CPU with the channels last
        x = self.reduce(x.contiguous(memory_format=torch.channels_last))
        skips: list[Tensor] = []
        for level, block in enumerate(self.encode):
            x = block(functional.max_pool2d(x, 2) if level else x)
            skips.append(x)
        skips.pop()
        for level in range(len(self.up) - 1, -1, -1):
            raised = functional.interpolate(self.up[level](x), scale_factor=2, mode="nearest")
            x = self.decode[level](torch.cat([skips[level], raised], dim=1))
        logits: Tensor = self.classify(self.dropout(x))
        return logits[..., :height, :width]


def _block(in_channels: int, out_channels: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, kernel_size=3, padding=1, bias=False),
        ChannelNorm(out_channels),
        nn.ReLU(inplace=True),
        nn.Conv2d(out_channels, out_channels, kernel_size=3, padding=1, bias=False),
        ChannelNorm(out_channels),
        nn.ReLU(inplace=True),
    )
