"""Heads for backbones that give feature maps at one or several levels, and padding to what a backbone can take."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies._base import StrategyError
from strategies.adaptation import AdaptableModel
from strategies.heads import ChannelNorm, LinearHead, pad_reflected, resize

POOLED_PX = (1, 2, 3, 6)
"""Sides of the grids that UPerNet pools its coarsest level to."""


class PaddedModel(AdaptableModel):
    """Pads its input by reflection to a multiple that the backbone needs, enlarges it, and crops the logits again."""

    def __init__(
        self, *, stem: nn.Module, backbone: nn.Module, head: nn.Module, multiple_px: int = 1, enlarge: int = 1
    ) -> None:
        super().__init__(stem=stem, backbone=backbone, head=head)
        self.multiple_px, self.enlarge = multiple_px, enlarge

    def features(self, x_BCHW: Tensor) -> Any:
        """Feature maps of the padded input."""
        height, width = x_BCHW.shape[-2:]
        below, right = (
            wanted - size for wanted, size in zip(self._padded((height, width)), (height, width), strict=True)
        )
        margin = max(below, right)
        if margin:
            x_BCHW = pad_reflected(x_BCHW, margin)[
                ..., margin : margin + height + below, margin : margin + width + right
            ]
        if self.enlarge > 1:
            x_BCHW = resize(x_BCHW, (x_BCHW.shape[-2] * self.enlarge, x_BCHW.shape[-1] * self.enlarge))
        return self.maps(x_BCHW)

    def maps(self, x_BCHW: Tensor) -> Any:
        """Feature maps of an input that the backbone can take."""
        return super().features(x_BCHW)

    def logits(self, features: Any, size_px: tuple[int, int]) -> Tensor:
        """Logits of the input without its padding."""
        return super().logits(features, self._padded(size_px))[..., : size_px[0], : size_px[1]]

    def _padded(self, size_px: tuple[int, int]) -> tuple[int, int]:
        # an enlarged input reaches the multiple sooner
        step = (
            max(1, -(-self.multiple_px // self.enlarge)) if self.multiple_px % self.enlarge == 0 else self.multiple_px
        )
        return -(-size_px[0] // step) * step, -(-size_px[1] // step) * step


class LastLevelHead(LinearHead):
    """A linear classifier of the last level's features."""

    def forward(self, features: Sequence[Tensor] | Tensor, size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]`."""
        return super().forward(features if isinstance(features, Tensor) else features[-1], size_px)


class UPerNetHead(nn.Module):
    """UPerNet (Xiao et al. 2018, arXiv:1807.10221): pooled context on the coarsest level, a feature pyramid, fusion.

    Three things differ from the published one: `ChannelNorm` in place of BatchNorm, which a batch of one, masked pixels
    and the number of workers would disturb; 256 channels, so that it stays below 10 million parameters; and maps that
    all have one size (the blocks of a plain vision transformer) are first resized to a pyramid, without weights of its
    own. The pyramid of a transformer with 16-pixel tokens is 4, 2, 1 and 1/2 times its map. It is never finer than a
    quarter of the input, unless the maps are: the cost would rise with the square.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, *, dropout: float, width: int = 256) -> None:
        """Make a head for maps with `in_channels`, the finest first; `width` is the number of channels inside."""
        super().__init__()
        self.lateral = nn.ModuleList(nn.Sequential(ChannelNorm(c), _convolution(c, width, 1)) for c in in_channels)
        self.context = nn.ModuleList(_convolution(width, width // len(POOLED_PX), 1) for _ in POOLED_PX)
        self.merge_context = _convolution(width + width // len(POOLED_PX) * len(POOLED_PX), width, 3)
        self.smooth = nn.ModuleList(_convolution(width, width, 3) for _ in in_channels[:-1])
        self.fuse = _convolution(width * len(in_channels), width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor] | Tensor, size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]` from one map or one a level, the finest first."""
        maps = [features] if isinstance(features, Tensor) else list(features)
        sizes = pyramid_sizes([(m.shape[-2], m.shape[-1]) for m in maps], size_px)
        levels = [_shrink_or_grow(lateral(m), size) for lateral, m, size in zip(self.lateral, maps, sizes, strict=True)]
        coarsest = levels[-1]
        pooled = [
            resize(convolve(functional.adaptive_avg_pool2d(coarsest, size)), sizes[-1])
            for convolve, size in zip(self.context, POOLED_PX, strict=True)
        ]
        levels[-1] = self.merge_context(torch.cat([coarsest, *pooled], dim=1))
        for index in range(len(levels) - 2, -1, -1):
            levels[index] = levels[index] + resize(levels[index + 1], sizes[index])
        smooth = [convolve(level) for convolve, level in zip(self.smooth, levels[:-1], strict=True)]
        fused = self.fuse(torch.cat([resize(level, sizes[0]) for level in [*smooth, levels[-1]]], dim=1))
        return resize(self.classify(self.dropout(fused)), size_px)


class DPTHead(nn.Module):
    """The decoder of DPT (Ranftl et al. 2021, arXiv:2103.13413) for four maps of a plain vision transformer.

    segmentation-models-pytorch's, with `ChannelNorm` in place of BatchNorm. Inside, the maps get 1/8, 1/4, 1/2 and all
    of their channels, as published for 768 of them.
    """

    def __init__(self, in_channels: Sequence[int], num_classes: int, *, dropout: float) -> None:
        super().__init__()
        from segmentation_models_pytorch.decoders.dpt.decoder import DPTDecoder

        channels = in_channels[0]
        if len(in_channels) != 4 or len(set(in_channels)) > 1 or channels < 8:
            raise StrategyError(
                f"head 'dpt' takes four maps of one width, this backbone gives {', '.join(map(str, in_channels))} "
                "channels; allowed: linear, upernet; set head"
            )
        self.decode = _without_batch_norm(
            DPTDecoder(
                encoder_out_channels=tuple(in_channels),
                encoder_output_strides=(16,) * 4,  # the decoder knows ratios only: 4, 2, 1 and 1/2 times the maps
                encoder_has_prefix_tokens=False,
                readout="ignore",
                intermediate_channels=(channels // 8, channels // 4, channels // 2, channels),
            )
        )
        width = 256
        self.smooth = _convolution(width, width, 3)
        self.dropout = nn.Dropout2d(dropout)
        self.classify = nn.Conv2d(width, num_classes, kernel_size=1)

    def forward(self, features: Sequence[Tensor], size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]`."""
        height, width = features[0].shape[-2:]
        # halved and doubled again inside: an odd map would come back one larger
        below, right = height % 2, width % 2
        even = [functional.pad(level, (0, right, 0, below), mode="replicate") for level in features]
        logits = self.classify(self.dropout(self.smooth(self.decode(even, [None] * 4))))
        grown_px = (size_px[0] * (height + below) // height, size_px[1] * (width + right) // width)
        return resize(logits, grown_px)[..., : size_px[0], : size_px[1]]


def make_head(kind: str, channels: Sequence[int], num_classes: int, *, dropout: float) -> nn.Module:
    """A head by name: linear, upernet or dpt.

    Args:
        kind: see the strategies' field `head`.
        channels: channels of the backbone's levels, the finest first.
        num_classes: channels of the logits.
        dropout: share of features dropped before the classifier.

    Raises:
        StrategyError: no such head, or one that does not fit the levels.
    """
    if kind == "linear":
        return LastLevelHead(channels[-1], num_classes, dropout=dropout)
    if kind == "upernet":
        return UPerNetHead(channels, num_classes, dropout=dropout)
    if kind == "dpt":
        return DPTHead(channels, num_classes, dropout=dropout)
    raise StrategyError(f"head {kind!r} is not offered; allowed: linear, upernet, dpt; set head")


def pyramid_sizes(sizes_px: Sequence[tuple[int, int]], input_px: tuple[int, int]) -> list[tuple[int, int]]:
    """Heights and widths of UPerNet's levels: as they are, or halved step by step where all maps have one size."""
    height, width = sizes_px[0]
    if len(sizes_px) == 1 or len(set(sizes_px)) > 1:
        return list(sizes_px)
    stride = max(input_px[0] / height, input_px[1] / width)
    finest = min(4.0, 2.0 ** (len(sizes_px) - 1), 2.0 ** max(0, int(math.log2(max(1.0, stride / 3.5)))))
    scales = [finest / 2**level for level in range(len(sizes_px))]
    return [(max(1, round(height * scale)), max(1, round(width * scale))) for scale in scales]


def _shrink_or_grow(x_BCHW: Tensor, size_px: tuple[int, int]) -> Tensor:
    # interpolation would skip pixels where it shrinks by more than two
    if size_px[0] < x_BCHW.shape[-2] or size_px[1] < x_BCHW.shape[-1]:
        return functional.adaptive_avg_pool2d(x_BCHW, size_px)
    return resize(x_BCHW, size_px)


def _convolution(in_channels: int, out_channels: int, size: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, padding=size // 2, bias=False), ChannelNorm(out_channels), nn.GELU()
    )


def _without_batch_norm(module: nn.Module) -> nn.Module:
    for name, child in module.named_children():
        if isinstance(child, nn.BatchNorm2d):
            setattr(module, name, ChannelNorm(child.num_features))
        else:
            _without_batch_norm(child)
    return module
