"""Copernicus-FM through torchgeo: a vision transformer that makes its patch embedding from wavelength and bandwidth.

Pretrained on the Sentinel missions. Sentinel-3 OLCI makes it the one multispectral model that has seen dense bands
between 400 and 1029 nm; beyond, it knows Sentinel-2's bands up to 2190 nm, and never more than 21 bands at once. More
bands and longer waves are taken (its codes are smooth), but lie outside of what it was trained on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies._base import Accepts, Pretraining, StrategyError, check_range
from strategies._checks import check_packages
from strategies._foundation import FoundationModel, Parts
from strategies._levels import patch_levels
from strategies._wavelengths import Wavelengths, spacings_nm, told

PATCH_PX = 16
CHANNELS = {"base": (768,) * 4, "reduced": (32,) * 4}
"""Channels of each tapped block's map."""


@dataclass(frozen=True, kw_only=True)
class CopernicusFM(FoundationModel):
    """Copernicus-FM's encoder with a new head; its input layer is pretrained and takes any bands."""

    size: Literal["base", "reduced"] = "base"
    """base (113 million parameters) or reduced (a tiny one without weights, for tests)."""
    bandwidth_nm: float = 0.0
    """Width of every band in nm; 0 = each band's distance to its neighbours."""
    wavelengths: Wavelengths = "true"
    """What the model is told: true, or shuffled (a control: the same band centres, given to other bands)."""

    summary: ClassVar[str] = "Copernicus-FM, patch embedding made from wavelength and bandwidth, through torchgeo"
    regimes: ClassVar = ("frozen", "lora", "full")
    requires: ClassVar[tuple[str, ...]] = ("torchgeo",)
    accepts: ClassVar[Accepts] = Accepts(
        needs_wavelengths=True, wavelength_range_nm=(380.0, 2520.0), normalisation="per_band_zscore"
    )
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="copernicus_fm_base",
        modality="hsi",
        domain="remote",
        datasets=("copernicus_pretrain",),
        sensors=("Sentinel-1", "Sentinel-2", "Sentinel-3 OLCI", "Sentinel-5P", "Copernicus DEM"),
        supervised=False,
    )
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "bandwidth_nm", "wavelengths", "enlarge")
    reference_step_s: ClassVar[float] = 0.7

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("bandwidth_nm", self.bandwidth_nm, 0, 1000)
        if 0 < self.bandwidth_nm < 1:
            raise StrategyError(
                f"bandwidth_nm {self.bandwidth_nm!r} is below what the model can code; allowed: 0 (from the bands' "
                "spacing) or 1 to 1000; set one of these"
            )

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        return patch_levels(self, height_px, width_px, patch_px=PATCH_PX, channels=CHANNELS[self.size])

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        check_packages(self)
        from torch import nn

        from strategies.backbones.copernicus_fm import make_copernicus_fm

        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        centres_nm = told(wavelengths_nm, self.wavelengths)
        widths_nm = (self.bandwidth_nm,) * num_bands if self.bandwidth_nm else spacings_nm(centres_nm)
        return Parts(
            stem=nn.Identity(),
            backbone=make_copernicus_fm(self.size, centres_nm, widths_nm),
            channels=CHANNELS[self.size],
            multiple_px=PATCH_PX,
        )


STRATEGY = CopernicusFM
