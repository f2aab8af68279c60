"""The U-Net and its regularised form of HS3-Bench (arXiv 2409.11205), with the published numbers of parameters.

Written from the published description: five levels of 64 to 512 channels, two 3x3 convolutions a level, bilinear
upsampling. The regularised form (RU-Net) adds BatchNorm and one dropout before the coarsest level.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LEVELS = (64, 128, 256, 512, 512)
DROPOUT = 0.25
SMALLEST_PX = 2 ** (len(LEVELS) - 1)


class HS3UNet(nn.Module):
    """Maps `x_BCHW` to logits `[B, K, H, W]`; images below 16 pixels a side are padded inside with their edge."""

    def __init__(self, in_channels: int, num_classes: int, *, regularised: bool) -> None:
        super().__init__()
        channels = (in_channels, *LEVELS)
        self.encode = nn.ModuleList(
            _pair(channels[level], channels[level + 1], channels[level + 1], regularised)
            for level in range(len(LEVELS))
        )
        self.dropout = nn.Dropout(DROPOUT if regularised else 0.0)
        # the finer level's channels beside the coarser one's: half of them inside, the next finer level's out
        outs = (LEVELS[0], *LEVELS[:-2])
        self.decode = nn.ModuleList(
            _pair(both, both // 2, out, regularised)
            for both, out in zip((2 * LEVELS[0], *(2 * c for c in LEVELS[1:-1])), outs, strict=True)
        )
        self.classify = nn.Conv2d(LEVELS[0], num_classes, kernel_size=1)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits of each pixel."""
        height, width = x_BCHW.shape[-2:]
        missing = (0, max(0, SMALLEST_PX - width), 0, max(0, SMALLEST_PX - height))
        x = functional.pad(x_BCHW, missing, mode="replicate") if any(missing) else x_BCHW
        x = self.encode[0](x)
        skips = [x]
        for level, block in enumerate(list(self.encode)[1:], start=1):
            x = functional.max_pool2d(x, 2)
            x = block(self.dropout(x) if level == len(LEVELS) - 1 else x)
            skips.append(x)
        skips.pop()
        for level in range(len(self.decode) - 1, -1, -1):
            skip = skips[level]
            raised = functional.interpolate(x, scale_factor=2, mode="bilinear", align_corners=True)
            rows, columns = skip.shape[-2] - raised.shape[-2], skip.shape[-1] - raised.shape[-1]
            raised = functional.pad(raised, (columns // 2, columns - columns // 2, rows // 2, rows - rows // 2))
            x = self.decode[level](torch.cat([skip, raised], dim=1))
        logits: Tensor = self.classify(x)
        return logits[..., :height, :width]


def _pair(in_channels: int, inner: int, out_channels: int, normalised: bool) -> nn.Sequential:
    layers: list[nn.Module] = []
    for source, target in ((in_channels, inner), (inner, out_channels)):
        layers.append(nn.Conv2d(source, target, kernel_size=3, padding=1, bias=not normalised))
        if normalised:
            layers.append(nn.BatchNorm2d(target))
        layers.append(nn.ReLU(inplace=True))
    return nn.Sequential(*layers)
