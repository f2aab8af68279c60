"""CARL (Baumann et al. 2026, arXiv:2504.19223): satellite images of any bands, self-supervised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies._base import Accepts, Pretraining, Regime
from strategies._foundation import FoundationModel, Parts
from strategies._levels import patch_levels
from strategies._wavelengths import Wavelengths, told

if TYPE_CHECKING:
    from torch import nn

PATCH_PX = 8
WIDTHS = {"base": 768, "reduced": 32}
LAYERS = {"base": 8, "reduced": 4}


@dataclass(frozen=True, kw_only=True)
class CARL(FoundationModel):
    """CARL's spectral encoder (any bands, by their wavelengths) and eight blocks of EVA-02-B on 8 x 8 pixels.

    Each window is standardised as a whole, as in pretraining. The linear head reads the last block, as published. The
    published UPerNet sits on a ViT-Adapter; here UPerNet reads every second block of the eight instead.
    """

    size: Literal["base", "reduced"] = "base"
    """base (71 M parameters), or reduced (no weights, for tests)."""
    wavelengths: Wavelengths = "true"
    """What the encoder is told of its bands: their wavelengths (true) or, as a control, those of others (shuffled)."""
    image_px: int = 128
    """Side of the square windows in which larger images are predicted and blended."""
    lora_targets: str = r"blocks\.\d+\.attn\.(q|k|v|q_proj|k_proj|v_proj|proj)\.weight"
    """Regular expression: weights of the backbone that get updates; regime lora only."""

    summary: ClassVar[str] = "CARL: bands by wavelength, then EVA-02-B (EnMAP and Sentinel-2, self-supervised)"
    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "lora", "full")
    accepts: ClassVar[Accepts] = Accepts(
        needs_wavelengths=True, wavelength_range_nm=(400.0, 2500.0), normalisation="scale"
    )
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="carl_ssl",
        modality="hsi",
        domain="remote",
        datasets=("bigearthnet", "spectralearth", "hyspecnet_11k"),
        sensors=("EnMAP", "Sentinel-2"),
        supervised=False,
    )
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "wavelengths", "enlarge", "head")
    contract_fields: ClassVar[Mapping[str, Any]] = {"size": "reduced", "head": "linear"}
    reference_step_s: ClassVar[float] = 60.0

    @property
    def taps(self) -> tuple[int, ...]:
        """Blocks of the spatial encoder that the head reads."""
        layers = LAYERS[self.size]
        return (layers - 1,) if self.head == "linear" else tuple(range(1, layers, 2))

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        """One map a tap; see `Strategy.cached_features`."""
        channels = [WIDTHS[self.size] for _ in self.taps]
        return patch_levels(self, height_px, width_px, patch_px=PATCH_PX, channels=channels)

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:  # noqa: ARG002
        """See `FoundationModel.make_parts`; there is no input layer to make, the encoder takes any bands."""
        from strategies.backbones.carl import Carl, ImageStandardised

        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        return Parts(
            stem=ImageStandardised(),
            backbone=Carl(told(wavelengths_nm, self.wavelengths), size=self.size, taps=self.taps),
            channels=(WIDTHS[self.size],) * len(self.taps),
            multiple_px=PATCH_PX,
        )

    def layers_of(self, model: nn.Module) -> tuple[str, ...]:  # noqa: ARG002
        """The spectral encoder's blocks, then the spatial encoder's; see `FoundationModel.layers_of`."""
        from strategies.backbones.carl import SPECTRAL_LAYERS

        return (
            "backbone",
            *(f"backbone.spectral_tf.blocks.{number}" for number in range(SPECTRAL_LAYERS)),
            "backbone.linear_connector",
            *(f"backbone.spatial_encoder.net.blocks.{number}" for number in range(LAYERS[self.size])),
        )


STRATEGY = CARL
