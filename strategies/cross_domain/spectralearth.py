"""SpectralEarth's SpecViT (Braham et al. 2024, arXiv:2408.08447): EnMAP tiles, self-supervised."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies._base import Accepts, Pretraining, StrategyError
from strategies._checks import check_nanometres
from strategies._foundation import FoundationModel, Parts
from strategies._levels import patch_levels

if TYPE_CHECKING:
    from torch import nn

PATCH_PX = 4
WIDTHS = {"small": 384, "base": 768, "reduced": 32}
LETTERS = {"small": "s", "base": "b", "reduced": "s"}
FEWEST_BANDS = 75
"""The three convolutions over the spectrum leave nothing of fewer."""


@dataclass(frozen=True, kw_only=True)
class SpectralEarth(FoundationModel):
    """SpecViT-S or -B: convolutions over the spectrum (the stem), then a vision transformer on 4 x 4 pixels.

    The model knows bands by their place in the list only. Other sensors are interpolated linearly onto the bands of
    its pretraining that they cover, 75 of them at least; a sensor that covers fewer, or has fewer bands, is refused
    rather than stretched. In the regimes stem and lora the published convolutions over the spectrum train too.
    """

    size: Literal["small", "base", "reduced"] = "base"
    """small (22 M parameters), base (86 M), or reduced (no weights, for tests)."""
    pretrained_by: Literal["mae", "dino", "moco"] = "mae"
    """Objective of the pretraining; dino and moco are published for size small."""
    resample: Literal["grid", "none"] = "grid"
    """grid: bands are interpolated onto the covered part of EnMAP's 202-band grid; none: bands go in as they are."""
    image_px: int = 128
    """Side of the square windows in which larger images are predicted and blended."""

    summary: ClassVar[str] = "SpecViT of SpectralEarth (EnMAP, self-supervised); bands resampled to its grid"
    accepts: ClassVar[Accepts] = Accepts(min_bands=FEWEST_BANDS, normalisation="per_band_zscore")
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="spectralearth_b_mae",
        modality="hsi",
        domain="remote",
        datasets=("spectralearth",),
        sensors=("EnMAP",),
        supervised=False,
    )
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "pretrained_by", "resample", "enlarge")
    contract_fields: ClassVar[Mapping[str, Any]] = {"size": "reduced", "head": "linear"}
    reference_step_s: ClassVar[float] = 30.0

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.pretrained_by != "mae" and self.size == "base":
            raise StrategyError(
                f"pretrained_by {self.pretrained_by!r} is not published for size 'base'; allowed: mae; set it, or "
                "size small"
            )

    def weights_name(self) -> str:
        """Each size and objective has its own file."""
        return f"spectralearth_{LETTERS[self.size]}_{self.pretrained_by}"

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:  # noqa: ARG002
        """The sensor must cover enough of the pretraining's bands; see `Strategy.check_sensor`."""
        from strategies.backbones.enmap_grid import covered_samples

        if self.resample == "none":
            return
        if wavelengths_nm is None:
            raise StrategyError(
                "wavelengths are unknown: SpectralEarth's bands are found by them; give wavelengths_nm, or set "
                "resample to none"
            )
        check_nanometres(wavelengths_nm)
        covered = len(covered_samples(wavelengths_nm))
        if covered < FEWEST_BANDS:
            raise StrategyError(
                f"bands from {min(wavelengths_nm):g} to {max(wavelengths_nm):g} nm cover {covered} neighbouring bands "
                f"of the 202 that SpectralEarth knows; allowed: {FEWEST_BANDS} or more; choose another strategy"
            )

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        """The last layer's map; see `Strategy.cached_features`."""
        return patch_levels(self, height_px, width_px, patch_px=PATCH_PX, channels=[WIDTHS[self.size]])

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        """See `FoundationModel.make_parts`."""
        from torch import nn

        from strategies.backbones.spectralearth import SIZES, GridResampler, SpectralAdapter, SpecViT

        self.check_sensor(num_bands, wavelengths_nm)
        shown = nn.Identity() if self.resample == "none" else GridResampler(wavelengths_nm or ())
        backbone = SpecViT(self.size)
        return Parts(
            stem=nn.Sequential(shown, SpectralAdapter(SIZES[self.size][-1])),
            backbone=backbone,
            channels=(WIDTHS[self.size],),
            multiple_px=PATCH_PX,
            first_blocks=tuple(f"blocks.{number}" for number in range(len(backbone.blocks))),
        )

    def filled(self, parts: Parts) -> nn.Module:
        """The convolutions over the spectrum and the transformer: no part of the published file is left out."""
        from strategies.backbones.spectralearth import published_whole

        return published_whole(parts.stem.get_submodule("1"), parts.backbone)  # type: ignore[arg-type]


STRATEGY = SpectralEarth
