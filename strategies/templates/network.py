"""SUMMARY.

CHANGE marks the places that are yours: hyperparameters, what is tuned, and the layers. After a change run
`hsfm-sweep strategy check`: it says what the contract still misses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies._base import Accepts, Distribution, Float, Strategy, check_bands, check_range

# Planning imports this file: torch and other heavy libraries are imported inside of the functions that need them.
if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SmallNetwork(Strategy):
    """Reduces the bands of each pixel, looks at its neighbours once, and classifies it."""

    # CHANGE: hyperparameters with their defaults. They can be fixed in a grid: {name: ..., width: 64}
    learning_rate: float = 5e-3
    """Learning rate of AdamW."""
    dropout: float = 0.1
    """Share of channels dropped before the classifier."""
    width: int = 32
    """Channels of the hidden layers."""

    summary: ClassVar[str] = "SUMMARY"
    # CHANGE: at most four of the fields are tuned; every default lies inside, and is what trial 0 tries.
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(5e-4, 5e-2, log=True),
        "dropout": Float(0.0, 0.5),
    }
    # CHANGE: what data it takes, for example Accepts(min_bands=8, needs_wavelengths=True)
    accepts: ClassVar[Accepts] = Accepts()
    # Raise it whenever a change alters numbers: old runs then count as another strategy.
    implementation_version: ClassVar[int] = 1
    reference_step_s: ClassVar[float] = 0.05

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("dropout", self.dropout, 0, 0.95)
        check_range("width", self.width, 4, 512)

    @property
    def receptive_field_px(self) -> int:
        # CHANGE with the layers: every 3x3 convolution adds 2. The audit of the split relies on it.
        return 3

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,  # noqa: ARG002 - some networks need it
        weights_path: str | None = None,  # noqa: ARG002 - this one has no pretrained weights
    ) -> nn.Module:
        """The network: from [batch, bands, height, width] to one score a class and pixel, at any height and width."""
        from torch import nn

        from strategies.heads import ChannelNorm

        check_bands(self, num_bands, wavelengths_nm)
        # CHANGE: any torch module. ChannelNorm instead of BatchNorm, which would mix masked pixels in.
        return nn.Sequential(
            nn.Conv2d(num_bands, self.width, kernel_size=1),
            ChannelNorm(self.width),
            nn.GELU(),
            nn.Conv2d(self.width, self.width, kernel_size=3, padding=1),
            ChannelNorm(self.width),
            nn.GELU(),
            nn.Dropout(self.dropout),
            nn.Conv2d(self.width, num_classes, kernel_size=1),
        )

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """One learning rate for all; `layers` and `layer_decay` would give deeper layers smaller ones."""
        from strategies.adaptation import parameter_groups

        return parameter_groups(model, learning_rate=self.learning_rate)


STRATEGY = SmallNetwork
