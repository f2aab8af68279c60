"""A 1-D convolutional network on single spectra, trained on the target data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import Accepts, Distribution, Float, Strategy, StrategyError, check_bands, check_range
from strategies._wavelengths import ascending

if TYPE_CHECKING:
    from torch import nn

PIXELS_AT_ONCE = 2048


@dataclass(frozen=True, kw_only=True)
class SpectralCNN(Strategy):
    """Convolutions along the bands of each pixel, in the order of wavelength where that is known.

    Neighbouring bands are only neighbours in the spectrum if they are sorted: mosaic cameras and overlapping
    spectrometers store them in another order. It has no BatchNorm, so that a batch may be dealt to workers in any way.
    """

    learning_rate: float = 2e-3
    """Learning rate of AdamW."""
    dropout: float = 0.2
    """Share of features dropped before the classifier."""
    width: int = 24
    """Channels of the first convolution; twice as many afterwards."""
    kernel_size: int = 7
    """Bands a convolution sees; odd."""

    summary: ClassVar[str] = "1-D convolutional network on single spectra, from scratch"
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(2e-4, 2e-2, log=True),
        "dropout": Float(0.0, 0.6),
    }
    accepts: ClassVar[Accepts] = Accepts(min_bands=8)
    reference_step_s: ClassVar[float] = 0.03

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("dropout", self.dropout, 0, 0.95)
        check_range("width", self.width, 4, 512)
        check_range("kernel_size", self.kernel_size, 3, 63)
        if self.kernel_size % 2 == 0:
            raise StrategyError(
                f"kernel_size {self.kernel_size} is even; allowed: odd numbers from 3 to 63; set one of these"
            )

    @property
    def receptive_field_px(self) -> int:
        return 1

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
        from strategies.backbones.spectral_cnn import SpectralCNNModel
        from strategies.heads import LinearHead, PixelwiseModel

        check_bands(self, num_bands, wavelengths_nm)
        order = ascending(num_bands, wavelengths_nm)
        features = 4 * self.width
        spectral = SpectralCNNModel(order, width=self.width, features=features, kernel_size=self.kernel_size)
        model = AdaptableModel(
            stem=nn.Identity(),
            backbone=PixelwiseModel(spectral, pixels_at_once=PIXELS_AT_ONCE),
            head=LinearHead(features, num_classes, dropout=self.dropout),
        )
        return adapt(model, self.regime)


STRATEGY = SpectralCNN
