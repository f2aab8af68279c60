"""A perceptron on single spectra: with no hidden layer HS3-Bench's FC baseline, one linear layer."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import Accepts, Distribution, Float, Strategy, check_bands, check_range

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class PixelPerceptron(Strategy):
    """Classifies each pixel by its spectrum alone; the weakest network that any other has to beat."""

    learning_rate: float = 1e-3
    """Learning rate of AdamW."""
    hidden_layers: int = 0
    """Layers before the classifier; 0 = a linear classifier."""
    width: int = 128
    """Features of a hidden layer."""
    dropout: float = 0.0
    """Share of features dropped after each hidden layer."""

    summary: ClassVar[str] = "perceptron on single spectra (linear by default), from scratch"
    search_space: ClassVar[Mapping[str, Distribution]] = {"learning_rate": Float(1e-4, 1e-1, log=True)}
    accepts: ClassVar[Accepts] = Accepts()
    reference_step_s: ClassVar[float] = 0.003

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("hidden_layers", self.hidden_layers, 0, 8)
        check_range("width", self.width, 4, 4096)
        check_range("dropout", self.dropout, 0, 0.95)

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

        check_bands(self, num_bands, wavelengths_nm)
        layers: list[nn.Module] = []
        features = num_bands
        for _ in range(self.hidden_layers):
            layers += [nn.Conv2d(features, self.width, kernel_size=1), nn.GELU(), nn.Dropout(self.dropout)]
            features = self.width
        return nn.Sequential(*layers, nn.Conv2d(features, num_classes, kernel_size=1))


STRATEGY = PixelPerceptron
