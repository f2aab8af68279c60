"""DOFA: a vision transformer that makes its patch embedding from the bands' wavelengths.

Pretrained by masked autoencoding on Sentinel-1 and 2, NAIP, Gaofen and EnMAP. It takes any list of bands; from 2 to
202 at once were seen in pretraining. Band centres reach it in micrometres, its own unit, converted here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies._base import Accepts, Pretraining
from strategies._foundation import FoundationModel, Parts
from strategies._levels import patch_levels
from strategies._wavelengths import Wavelengths, told

PATCH_PX = 16
CHANNELS = {"base": (768,) * 4, "large": (1024,) * 4, "reduced": (32,) * 4}
"""Channels of each tapped block's map."""


@dataclass(frozen=True, kw_only=True)
class DOFA(FoundationModel):
    """DOFA's encoder with a new head; its input layer is pretrained and takes any bands."""

    size: Literal["base", "large", "reduced"] = "base"
    """base (111 million parameters), large (337 million) or reduced (a tiny one without weights, for tests)."""
    release: Literal["torchgeo", "original"] = "torchgeo"
    """Which published file: the authors' own, or torchgeo's copy of its encoder, whose checksum is known."""
    wavelengths: Wavelengths = "true"
    """What the model is told: true, or shuffled (a control: the same band centres, given to other bands)."""

    summary: ClassVar[str] = "DOFA, patch embedding made from wavelengths, pretrained on five satellite sensors"
    regimes: ClassVar = ("frozen", "lora", "full")
    accepts: ClassVar[Accepts] = Accepts(
        needs_wavelengths=True,
        # seen in pretraining: 420 to 2450 nm; the codes of wavelengths are smooth, so a little beyond is taken
        wavelength_range_nm=(380.0, 2520.0),
        normalisation="per_band_zscore",
    )
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="dofa_base",
        modality="hsi",
        domain="remote",
        datasets=("satlas_pretrain", "five_billion_pixels", "hyspecnet_11k"),
        sensors=("Sentinel-1", "Sentinel-2", "NAIP", "Gaofen", "EnMAP"),
        supervised=False,
    )
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "release", "wavelengths", "enlarge")
    reference_step_s: ClassVar[float] = 0.7

    def weights_name(self) -> str:
        size = "large" if self.size == "large" else "base"
        return f"dofa_{size}" if self.release == "torchgeo" else f"dofa_{size}_original"

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        return patch_levels(self, height_px, width_px, patch_px=PATCH_PX, channels=CHANNELS[self.size])

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:  # noqa: ARG002
        from torch import nn

        from strategies.backbones.dofa import make_dofa

        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        return Parts(
            stem=nn.Identity(),
            backbone=make_dofa(self.size, told(wavelengths_nm, self.wavelengths)),
            channels=CHANNELS[self.size],
            multiple_px=PATCH_PX,
        )


STRATEGY = DOFA
