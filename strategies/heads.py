"""Heads: from features to logits at the input's height and width."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class LinearHead(nn.Module):
    """A linear classifier of each pixel's features."""

    def __init__(self, in_channels: int, num_classes: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Conv2d(in_channels, num_classes, kernel_size=1)

    def forward(self, features_BFHW: Tensor, size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]`; features of another size are interpolated."""
        logits: Tensor = self.classify(self.dropout(features_BFHW))
        return resize(logits, size_px)


class ChannelNorm(nn.Module):
    """LayerNorm over the channels of each pixel.

    Unlike BatchNorm it is the same in training and evaluation, does not see other pixels (so it neither mixes masked
    pixels in nor widens the receptive field) and does not depend on how a batch is dealt to workers.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(channels)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Normalised features, same shape."""
        normalised: Tensor = self.norm(x_BCHW.permute(0, 2, 3, 1))
        return normalised.permute(0, 3, 1, 2)


class PyramidHead(nn.Module):
    """A light feature pyramid (Lin et al. 2017, arXiv:1612.03144): levels are merged from coarse to fine.

    Every level is normalised first, so that levels of very different size, as random weights give them, start equal.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, *, width: int = 64, dropout: float = 0.0) -> None:
        """Make a head for levels with `in_channels`, the finest first; `width` is the number of channels inside."""
        super().__init__()
        self.lateral = nn.ModuleList(
            nn.Sequential(ChannelNorm(c), nn.Conv2d(c, width, kernel_size=1)) for c in in_channels
        )
        self.smooth = nn.Sequential(ChannelNorm(width), nn.Conv2d(width, width, kernel_size=3, padding=1), nn.GELU())
        self.dropout = nn.Dropout(dropout)
        self.classify = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, levels: Sequence[Tensor], size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]` from feature maps, the finest first."""
        merged: Tensor = self.lateral[-1](levels[-1])
        for lateral, level in zip(reversed(self.lateral[:-1]), reversed(levels[:-1]), strict=True):
            merged = lateral(level) + resize(merged, (level.shape[-2], level.shape[-1]))
        logits: Tensor = self.classify(self.dropout(self.smooth(merged)))
        return resize(logits, size_px)


def resize(x_BCHW: Tensor, size_px: tuple[int, int]) -> Tensor:
    """Bilinear interpolation to a height and width in pixels; nothing where they agree already."""
    if (x_BCHW.shape[-2], x_BCHW.shape[-1]) == tuple(size_px):
        return x_BCHW
    return functional.interpolate(x_BCHW, size=tuple(size_px), mode="bilinear", align_corners=False)


class PixelwiseModel(nn.Module):
    """Runs a model of single spectra over an image, a limited number of pixels at once.

    `spectral` maps `[N, C]` to features `[N, F]`. The limit keeps dense prediction in memory; it does not change
    results beyond rounding.
    """

    def __init__(self, spectral: nn.Module, *, pixels_at_once: int) -> None:
        super().__init__()
        self.spectral = spectral
        self.pixels_at_once = pixels_at_once

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Features `[B, F, H, W]`."""
        batch, _, height, width = x_BCHW.shape
        pixels_NC = x_BCHW.permute(0, 2, 3, 1).flatten(0, 2)
        features_NF = torch.cat([self.spectral(part) for part in torch.split(pixels_NC, self.pixels_at_once)])
        return features_NF.view(batch, height, width, -1).permute(0, 3, 1, 2)


def pad_reflected(x_BCHW: Tensor, margin_px: int) -> Tensor:
    """Reflection beyond the edges, repeated where the image is smaller than the margin."""
    for axis in (2, 3):
        size = x_BCHW.shape[axis]
        period = max(1, 2 * (size - 1))
        places = torch.arange(-margin_px, size + margin_px, device=x_BCHW.device) % period
        x_BCHW = x_BCHW.index_select(axis, torch.where(places < size, places, period - places))
    return x_BCHW
