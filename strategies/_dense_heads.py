"""Heads for backbones that give feature maps at one or several levels, and padding to what a backbone can take."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn

from strategies._base import StrategyError
from strategies.adaptation import AdaptableModel
from strategies.heads import LinearHead, pad_reflected, resize


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


def make_head(kind: str, channels: Sequence[int], num_classes: int, *, dropout: float) -> nn.Module:
    """A head by name: linear or upernet.

    Args:
        kind: see the strategies' field `head`.
        channels: channels of the backbone's levels.
        num_classes: channels of the logits.
        dropout: share of features dropped before the classifier.
    """
    if kind != "linear":
        raise StrategyError(f"head {kind!r} is not offered; allowed: linear; set head")
    return LastLevelHead(channels[-1], num_classes, dropout=dropout)
