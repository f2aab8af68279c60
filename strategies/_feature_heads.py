"""Segmentation networks on maps of features at full resolution: what HS3-Bench's papers put on exported features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from strategies._checks import StrategyError
from strategies.heads import LinearHead, resize

HIDDEN = (64, 512, 1024, 1024)
"""Widths inside the published classifier of single pixels."""
DROPOUTS = (0.2, 0.4)
"""Its dropout after the first and the second fully connected layer."""


class FeatureSegmenter(nn.Module):
    """A network of images, `x_BCHW` to logits `[B, K, H, W]`, as the head on the last level of a backbone."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, features: Sequence[Tensor] | Tensor, size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]`."""
        map_BFHW = features if isinstance(features, Tensor) else features[-1]
        return resize(self.network(map_BFHW), size_px)


class LinearFeatureHead(LinearHead):
    """A linear classifier of each pixel's features in the last level."""

    def forward(self, features: Sequence[Tensor] | Tensor, size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]`."""
        return super().forward(features if isinstance(features, Tensor) else features[-1], size_px)


class DeepLabOnFeatures(nn.Module):
    """HS3-Bench's DeepLabV3+, its 1x1 convolution to three channels in front."""

    def __init__(self, in_channels: int, num_classes: int) -> None:
        super().__init__()
        from strategies.backbones.deeplabv3plus import DeepLabHead, MobileNetV2Levels

        self.reduce = nn.Conv2d(in_channels, 3, kernel_size=1)
        self.levels = MobileNetV2Levels()
        self.decode = DeepLabHead(num_classes)

    def forward(self, x_BFHW: Tensor) -> Tensor:
        """Logits of each pixel."""
        if self.training and x_BFHW.shape[0] < 2:
            raise StrategyError(
                "one patch a worker is too little to train DeepLabV3+'s BatchNorm; allowed: 2 patches a worker or "
                "more; raise train.batch_size"
            )
        logits: Tensor = self.decode(self.levels(self.reduce(x_BFHW)), (x_BFHW.shape[-2], x_BFHW.shape[-1]))
        return logits


def pixel_classifier(in_channels: int, num_classes: int) -> nn.Sequential:
    """The published classifier of a single pixel's features (hs3 reference code's `hypersl-clf`), pixel by pixel.

    Its 3x3 convolution saw single pixels only, so that one of its nine weights was ever used: here it is 1x1. The
    published code ends in a GELU on the logits; it is left out, since it takes away what speaks against a class.
    """
    first, second, third, fourth = HIDDEN
    return nn.Sequential(
        nn.Conv2d(in_channels, first, 1),
        nn.BatchNorm2d(first),
        nn.GELU(),
        nn.Conv2d(first, second, 1),
        nn.BatchNorm2d(second),
        nn.GELU(),
        nn.Conv2d(second, third, 1),
        nn.Dropout(DROPOUTS[0]),
        nn.GELU(),
        nn.Conv2d(third, fourth, 1),
        nn.Dropout(DROPOUTS[1]),
        nn.GELU(),
        nn.Conv2d(fourth, num_classes, 1),
    )


def make_feature_head(kind: str, channels: int, num_classes: int, *, dropout: float) -> nn.Module:
    """A head by name on features of full resolution.

    Args:
        kind: pixel (the published classifier of single pixels), linear, unet, runet or deeplabv3plus.
        channels: of the features.
        num_classes: channels of the logits.
        dropout: share of features dropped before the linear classifier; the others have their own.
    """
    from strategies.backbones.hs3_unet import HS3UNet

    if kind == "linear":
        return LinearFeatureHead(channels, num_classes, dropout=dropout)
    make: dict[str, Any] = {
        "pixel": pixel_classifier,
        "unet": lambda *sizes: HS3UNet(*sizes, regularised=False),
        "runet": lambda *sizes: HS3UNet(*sizes, regularised=True),
        "deeplabv3plus": DeepLabOnFeatures,
    }
    return FeatureSegmenter(make[kind](channels, num_classes))
