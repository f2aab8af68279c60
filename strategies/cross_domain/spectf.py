"""SpecTf with NASA's EMIT weights: a transformer of single spectra from another sensor and another task.

A supervised pretrained model (25 thousand parameters, cloud detection), not a foundation model. It was trained on
top-of-atmosphere reflectance; on surface reflectance the difference is there and noted, not refused.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import (
    Accepts,
    Distribution,
    Float,
    Initialisation,
    Int,
    Pretraining,
    Regime,
    Strategy,
    check_bands,
    check_range,
)
from strategies._declarations import of_regime

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "spectf_v010"
WIDTH = 64
PIXELS_AT_ONCE = 128  # attention over some 200 tokens: more pixels fall out of the CPU's cache


@dataclass(frozen=True, kw_only=True)
class SpecTf(Strategy):
    """SpecTf's encoder on (reflectance, wavelength) tokens of each pixel, with a new linear head."""

    regime: Regime = "full"
    init: Initialisation = "pretrained"
    learning_rate: float = 3e-3
    """Learning rate of AdamW."""
    dropout: float = 0.0
    """Dropout after attention and feed-forward and before the head; none inside a frozen encoder."""
    lora_rank: int = 8
    """Rank of the updates; regime lora only."""
    lora_targets: str = r"attention|linear[12]"
    """Regular expression: weights of the encoder that get updates; regime lora only."""

    summary: ClassVar[str] = "SpecTf on (reflectance, wavelength) tokens, pretrained on EMIT cloud masks"
    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "lora", "full")
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(3e-4, 3e-2, log=True),
        "dropout": Float(0.0, 0.3),
        "lora_rank": Int(2, 16, log=True),
    }
    accepts: ClassVar[Accepts] = Accepts(
        quantities=("toa_reflectance", "surface_reflectance"),
        needs_wavelengths=True,
        wavelength_range_nm=(381.0, 2493.0),
        normalisation="scale",
    )
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights=WEIGHTS,
        modality="hsi",
        domain="remote",
        datasets=("spectf_cloud_emit",),
        sensors=("EMIT",),
        supervised=True,
    )
    reference_step_s: ClassVar[float] = 0.35
    is_pixelwise: ClassVar[bool] = True

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("dropout", self.dropout, 0, 0.95)
        check_range("lora_rank", self.lora_rank, 1, 1024)

    @property
    def receptive_field_px(self) -> int:
        return 1

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        """See `Strategy.cached_features`."""
        return ((WIDTH, height_px, width_px),) if self.regime == "frozen" else None

    def space(self) -> Mapping[str, Distribution]:
        return of_regime(self.search_space, self.regime)

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,  # noqa: ARG002
        weights_path: str | None = None,
    ) -> nn.Module:
        """See `Strategy.build`."""
        from torch import nn

        from strategies.adaptation import AdaptableModel, adapt
        from strategies.backbones._weights import fill_pretrained
        from strategies.backbones.spectf import spectral_encoder
        from strategies.heads import LinearHead, PixelwiseModel

        check_bands(self, num_bands, wavelengths_nm)
        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        encoder = spectral_encoder([float(wavelength) for wavelength in wavelengths_nm], dropout=self.dropout)
        fill_pretrained(encoder, WEIGHTS, self.init, weights_path)
        model = AdaptableModel(
            stem=nn.Identity(),
            backbone=PixelwiseModel(encoder, pixels_at_once=PIXELS_AT_ONCE),
            head=LinearHead(WIDTH, num_classes, dropout=self.dropout),
        )
        return adapt(model, self.regime, rank=self.lora_rank, targets=self.lora_targets)


STRATEGY = SpecTf
