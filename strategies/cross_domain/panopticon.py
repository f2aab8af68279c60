"""Panopticon through torchgeo: attention among the bands of each patch, told apart by their wavelengths, then DINOv2.

It was trained on 4 to 13 bands at once; more than 25 are far from that. Memory grows with the bands: at 224 pixels
each takes some 2.4 MB an image, several times over, so that more than 64 are refused.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies._base import Accepts, Pretraining
from strategies._checks import check_packages
from strategies._foundation import FoundationModel, Parts
from strategies._levels import map_sides
from strategies._wavelengths import Wavelengths, told

PATCH_PX = 14
CHANNELS = {"base": (768,) * 4, "reduced": (32,) * 4}
"""Channels of each tapped block's map."""


@dataclass(frozen=True, kw_only=True)
class Panopticon(FoundationModel):
    """Panopticon's encoder with a new head; its input layer is pretrained and takes any bands."""

    size: Literal["base", "reduced"] = "base"
    """base (99 million parameters) or reduced (a tiny one without weights, for tests)."""
    wavelengths: Wavelengths = "true"
    """What the model is told: true, or shuffled (a control: the same band centres, given to other bands)."""

    summary: ClassVar[str] = "Panopticon, attention among bands by their wavelengths before DINOv2, through torchgeo"
    regimes: ClassVar = ("frozen", "lora", "full")
    requires: ClassVar[tuple[str, ...]] = ("torchgeo",)
    accepts: ClassVar[Accepts] = Accepts(
        needs_wavelengths=True,
        wavelength_range_nm=(380.0, 2520.0),
        max_bands=64,
        normalisation="per_band_zscore",
    )
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="panopticon_base",
        modality="hsi",
        domain="remote",
        datasets=("fmow", "mmearth", "satlas_pretrain", "spectral_earth"),
        sensors=("WorldView", "Sentinel-1", "Sentinel-2", "Landsat", "EnMAP"),
        supervised=False,
    )
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "wavelengths", "enlarge")
    reference_step_s: ClassVar[float] = 1.8

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        if self.regime != "frozen":
            return None
        sides = map_sides(height_px, width_px, patch_px=PATCH_PX, enlarge=self.enlarge)
        return tuple((channels, *sides) for channels in CHANNELS[self.size])

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:  # noqa: ARG002
        check_packages(self)
        from torch import nn

        from strategies.backbones.panopticon import make_panopticon

        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        return Parts(
            stem=nn.Identity(),
            backbone=make_panopticon(self.size, told(wavelengths_nm, self.wavelengths)),
            channels=CHANNELS[self.size],
            multiple_px=PATCH_PX,
        )


STRATEGY = Panopticon
