"""Panopticon through torchgeo: attention among the bands of each patch, told apart by their wavelengths, then DINOv2.

It was trained on 4 to 13 bands at once; more than 25 are far from that. Memory grows with the bands: at 224 pixels
each takes some 2.4 MB an image, several times over, so that more than 64 are refused, or fewer chosen on request.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies._base import Accepts, Pretraining, StrategyError, check_range
from strategies._checks import check_packages
from strategies._foundation import FoundationModel, Parts
from strategies._levels import patch_levels
from strategies._wavelengths import Wavelengths, told

PATCH_PX = 14
MOST_BANDS = 64
CHANNELS = {"base": (768,) * 4, "reduced": (32,) * 4}
"""Channels of each tapped block's map."""


@dataclass(frozen=True, kw_only=True)
class Panopticon(FoundationModel):
    """Panopticon's encoder with a new head; its input layer is pretrained and takes any bands."""

    size: Literal["base", "reduced"] = "base"
    """base (99 million parameters) or reduced (a tiny one without weights, for tests)."""
    select_bands: int = 0
    """Number of bands that the model is shown, evenly spread over the sensor's; 0 = all, of which 64 are the most."""
    wavelengths: Wavelengths = "true"
    """What the model is told: true, or shuffled (a control: the same band centres, given to other bands)."""

    summary: ClassVar[str] = "Panopticon, attention among bands by their wavelengths before DINOv2, through torchgeo"
    regimes: ClassVar = ("frozen", "lora", "full")
    requires: ClassVar[tuple[str, ...]] = ("torchgeo",)
    accepts: ClassVar[Accepts] = Accepts(
        needs_wavelengths=True,
        wavelength_range_nm=(380.0, 2520.0),
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
    contract_fields: ClassVar = {"size": "reduced", "select_bands": 25}
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "wavelengths", "enlarge", "select_bands")
    reference_step_s: ClassVar[float] = 1.8

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("select_bands", self.select_bands, 0, MOST_BANDS)

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:  # noqa: ARG002
        """Memory grows with the bands, and pretraining saw few; see `Strategy.check_sensor`."""
        if min(self.select_bands or num_bands, num_bands) > MOST_BANDS:
            raise StrategyError(
                f"{num_bands} bands: Panopticon takes 1 to {MOST_BANDS}; set select_bands, for example 25, so that it "
                "is shown as many, evenly spread"
            )

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        return patch_levels(self, height_px, width_px, patch_px=PATCH_PX, channels=CHANNELS[self.size])

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        self.check_sensor(num_bands, wavelengths_nm)
        check_packages(self)
        from torch import nn

        from strategies.backbones.band_inputs import ChosenBands
        from strategies.backbones.panopticon import make_panopticon

        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        stem: nn.Module = nn.Identity()
        if 0 < self.select_bands < num_bands:
            count = self.select_bands
            chosen = [round(i * (num_bands - 1) / max(1, count - 1)) for i in range(count)]
            stem = ChosenBands(chosen)
            stem.bands_used = count  # type: ignore[assignment]
            wavelengths_nm = [wavelengths_nm[band] for band in chosen]
        return Parts(
            stem=stem,
            backbone=make_panopticon(self.size, told(wavelengths_nm, self.wavelengths)),
            channels=CHANNELS[self.size],
            multiple_px=PATCH_PX,
        )


STRATEGY = Panopticon
