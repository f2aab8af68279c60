"""What networks share that classify the centre of a window and are trained on the target data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import Accepts, Distribution, Float, Strategy, StrategyError, check_range
from strategies._wavelengths import ascending

if TYPE_CHECKING:
    from torch import nn

    from strategies.backbones.window_classifier import WindowClassifier

LARGEST_PATCH_PX = 65


@dataclass(frozen=True, kw_only=True)
class WindowNetwork(Strategy):
    """A window of `patch` x `patch` pixels goes in, the class of its centre pixel comes out."""

    learning_rate: float = 1e-3
    """Learning rate of AdamW."""
    dropout: float = 0.1
    """Share of features dropped in training."""
    patch: int = 9
    """Side in pixels of the windows; a larger one wins on random splits by leakage alone."""

    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "dropout": Float(0.0, 0.5),
    }
    accepts: ClassVar[Accepts] = Accepts(min_bands=3)
    smallest_patch: ClassVar[int] = 1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("dropout", self.dropout, 0, 0.95)
        check_range("patch", self.patch, self.smallest_patch, LARGEST_PATCH_PX)
        if self.patch % 2 == 0:
            raise StrategyError(f"patch {self.patch} is even; allowed: odd numbers, so that a window has a centre")

    @property
    def receptive_field_px(self) -> int:
        return self.patch

    @property
    def window_px(self) -> int:
        return self.patch

    def classifier(
        self, stem: nn.Module, backbone: nn.Module, features: int, num_classes: int, *, dropout: float = 0.0
    ) -> WindowClassifier:
        """The model of a stem of single pixels, a backbone that maps windows to features, and a linear classifier."""
        from strategies.backbones.window_classifier import CentreHead, WindowClassifier

        head = CentreHead(features, num_classes, dropout=dropout)
        return WindowClassifier(stem=stem, backbone=backbone, head=head, window_px=self.patch)


def in_order_of_wavelength(num_bands: int, wavelengths_nm: Sequence[float] | None) -> nn.Module:
    """A stem that sorts the bands, where their wavelengths are known: neighbours in the cube need not be neighbours."""
    from strategies.backbones.band_inputs import ChosenBands

    return ChosenBands(ascending(num_bands, wavelengths_nm))
