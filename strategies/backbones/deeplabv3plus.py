"""DeepLabV3+ on MobileNetV2 with output stride 16, in the size that HS3-Bench uses (5.2 million parameters).

Written from Chen et al. 2018 (arXiv:1802.02611); the backbone is torchvision's, its last stage dilated instead of
strided, so that torchvision's ImageNet weights fit.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

LOW_LEVEL, HIGH_LEVEL, PYRAMID, REDUCED = 24, 320, 256, 48
RATES = (6, 12, 18)
FIRST_OF_LAST_STAGE = 14
"""Index of the block of MobileNetV2 that would bring the stride to 32."""


class MobileNetV2Levels(nn.Module):
    """Features of stride 4 (24 channels) and 16 (320 channels) of a picture with three channels."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import mobilenet_v2

        features = mobilenet_v2(weights=None).features
        self.features = nn.Sequential(*list(features)[:-1])  # the last layer serves ImageNet's classifier
        for index in range(FIRST_OF_LAST_STAGE, len(self.features)):
            for layer in self.features[index].modules():
                if isinstance(layer, nn.Conv2d) and layer.kernel_size == (3, 3):
                    layer.stride = (1, 1)
                    # the block that was strided still sees its neighbours at the old distance
                    distance = 1 if index == FIRST_OF_LAST_STAGE else 2
                    layer.dilation, layer.padding = (distance, distance), (distance, distance)

    def forward(self, x_BCHW: Tensor) -> tuple[Tensor, Tensor]:
        """(fine, coarse) features."""
        fine = self.features[:4](x_BCHW)
        return fine, self.features[4:](fine)


class DeepLabHead(nn.Module):
    """Atrous spatial pyramid on the coarse features, refined with the fine ones."""

    def __init__(self, num_classes: int) -> None:
        super().__init__()
        self.reduce = _conv(LOW_LEVEL, REDUCED, 1)
        self.branches = nn.ModuleList(
            [_conv(HIGH_LEVEL, PYRAMID, 1), *(_conv(HIGH_LEVEL, PYRAMID, 3, dilation=rate) for rate in RATES)]
        )
        self.whole = _conv(HIGH_LEVEL, PYRAMID, 1)
        self.merge = nn.Sequential(_conv((len(RATES) + 2) * PYRAMID, PYRAMID, 1), nn.Dropout(0.1))
        self.classify = nn.Sequential(_conv(PYRAMID + REDUCED, PYRAMID, 3), nn.Conv2d(PYRAMID, num_classes, 1))

    def forward(self, levels: tuple[Tensor, Tensor], size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]`."""
        fine, coarse = levels
        whole = self.whole(functional.adaptive_avg_pool2d(coarse, 1))
        seen = [branch(coarse) for branch in self.branches]
        seen.append(functional.interpolate(whole, coarse.shape[-2:], mode="bilinear", align_corners=False))
        merged = self.merge(torch.cat(seen, dim=1))
        merged = functional.interpolate(merged, fine.shape[-2:], mode="bilinear", align_corners=False)
        logits = self.classify(torch.cat([self.reduce(fine), merged], dim=1))
        return functional.interpolate(logits, size_px, mode="bilinear", align_corners=False)


def _conv(in_channels: int, out_channels: int, size: int, *, dilation: int = 1) -> nn.Sequential:
    padding = dilation * (size // 2)
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, padding=padding, dilation=dilation, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU(inplace=True),
    )
