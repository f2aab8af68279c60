"""DeepLabV3+ on MobileNetV2 from random weights, trained on the target data alone."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import check_bands
from strategies.in_domain._hs3 import BandInputStrategy

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class DeepLabV3Plus(BandInputStrategy):
    """DeepLabV3+ as HS3-Bench (arXiv:2409.11205) uses it; other than three channels go through a 1x1 convolution."""

    summary: ClassVar[str] = "DeepLabV3+ on MobileNetV2 (5.2 M parameters), from scratch"
    reference_step_s: ClassVar[float] = 1.0

    @property
    def receptive_field_px(self) -> int:
        """The pyramid's pooling sees the whole image: an upper bound that no scene of this tool exceeds."""
        return 4097

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

        from strategies.adaptation import AdaptableModel, adapt
        from strategies.backbones.band_inputs import make_input
        from strategies.backbones.deeplabv3plus import DeepLabHead, MobileNetV2Levels

        check_bands(self, num_bands, wavelengths_nm)
        shown, channels = make_input(
            self.input, num_bands, wavelengths_nm, components=self.components, rgb_bands=self.rgb_bands
        )
        stem = shown if channels == 3 else nn.Sequential(shown, nn.Conv2d(channels, 3, kernel_size=1))
        model = AdaptableModel(stem=stem, backbone=MobileNetV2Levels(), head=DeepLabHead(num_classes))
        return adapt(model, self.regime)


STRATEGY = DeepLabV3Plus
