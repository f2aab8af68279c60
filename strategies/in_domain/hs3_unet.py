"""The U-Net baseline of HS3-Bench, trained on the target data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import check_bands
from strategies.in_domain._hs3 import BandInputStrategy

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class HS3UNetStrategy(BandInputStrategy):
    """U-Net of 17.3 million parameters, without normalisation or dropout, as in arXiv:2409.11205."""

    summary: ClassVar[str] = "HS3-Bench's U-Net (17.3 M parameters, no BatchNorm), from scratch"
    reference_step_s: ClassVar[float] = 4.0
    is_regularised: ClassVar[bool] = False

    @property
    def receptive_field_px(self) -> int:
        """Upper bound: two 3x3 convolutions a level, four levels down and up.

        Upsampling with aligned corners and odd sizes shift a level by up to two of its pixels.
        """
        reach = 2
        for _ in range(4):
            reach = 2 + 2 * (reach + 2) + 1 + 2
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
        from torch import nn

        from strategies.backbones.band_inputs import make_input
        from strategies.backbones.hs3_unet import HS3UNet

        check_bands(self, num_bands, wavelengths_nm)
        shown, channels = make_input(
            self.input, num_bands, wavelengths_nm, components=self.components, rgb_bands=self.rgb_bands
        )
        return nn.Sequential(shown, HS3UNet(channels, num_classes, regularised=self.is_regularised))


STRATEGY = HS3UNetStrategy
