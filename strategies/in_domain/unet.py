"""A small 2-D U-Net on all bands, trained on the target data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import Accepts, Distribution, Float, Strategy, check_bands, check_range

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class UNet(Strategy):
    """U-Net (Ronneberger et al. 2015, arXiv:1505.04597) after a 1x1 convolution that reduces the bands."""

    learning_rate: float = 2e-3
    """Learning rate of AdamW."""
    dropout: float = 0.1
    """Share of channels dropped before the classifier."""
    width: int = 32
    """Channels at full resolution; doubled at each coarser level."""
    depth: int = 2
    """Number of times the resolution is halved."""

    summary: ClassVar[str] = "small 2-D U-Net on all bands, from scratch"
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(2e-4, 2e-2, log=True),
        "dropout": Float(0.0, 0.5),
    }
    accepts: ClassVar[Accepts] = Accepts()
    reference_step_s: ClassVar[float] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("dropout", self.dropout, 0, 0.95)
        check_range("width", self.width, 4, 512)
        check_range("depth", self.depth, 1, 5)

    @property
    def receptive_field_px(self) -> int:
        """Two 3x3 convolutions reach 2 pixels; a pixel of a coarser level spans two, on either side of the border."""
        reach = 2
        for _ in range(self.depth):
            reach = 2 + (2 * reach + 1) + 2
        return 2 * reach + 1

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,  # noqa: ARG002
        weights_path: str | None = None,  # noqa: ARG002
    ) -> nn.Module:
        """See `Strategy.build`."""
        from strategies.backbones.unet import UNetModel

        check_bands(self, num_bands, wavelengths_nm)
        return UNetModel(num_bands, num_classes, width=self.width, depth=self.depth, dropout=self.dropout)


STRATEGY = UNet
