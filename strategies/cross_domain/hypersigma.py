"""HyperSIGMA: two vision transformers pretrained by masked autoencoding on satellite scenes of Hyperion and GF-5.

Its input layer takes exactly 100 channels, whatever their wavelengths, so there are two honest ways to use it, and the
field `input` names the one in every row:

- bank100: spectra are resampled to 100 samples, and the pretrained input layer is kept.
- pca: as published, whitened principal components of the training spectra, with a new input layer and new positions;
  only the blocks are pretrained. Published code fits them to unnormalised numbers, here to normalised ones.

Pretraining divided raw numbers by 4000, about their largest; here each band's training range becomes 0 to 1.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from strategies._base import Accepts, Pretraining, StrategyError, check_range
from strategies._checks import check_nanometres
from strategies._foundation import FoundationModel, Parts
from strategies._levels import map_sides

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class HyperSigma(FoundationModel):
    """HyperSIGMA's spatial branch, optionally weighted by its spectral branch, with a new head."""

    size: Literal["base", "large", "reduced"] = "base"
    """base (90 million parameters; both branches 122), large (309; 414) or reduced (a tiny one for tests)."""
    input: Literal["pca", "bank100"] = "bank100"
    """bank100 (100 samples of the spectrum, pretrained input layer) or pca (components, new input layer)."""
    components: int = 30
    """Principal components, or as many as there are bands; input pca only."""
    branches: Literal["spatial", "both"] = "spatial"
    """spatial, or both: its levels weighted by a new gate on the spectral branch. Weights of both are one joined file;
    see `strategies/backbones/hypersigma_join.py`."""
    image_px: int = 128

    summary: ClassVar[str] = (
        "HyperSIGMA on 100 samples of the spectrum or on components, pretrained on Hyperion and GF-5"
    )
    accepts: ClassVar[Accepts] = Accepts(normalisation="per_band_minmax")
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="hypersigma_spat_base",
        modality="hsi",
        domain="remote",
        datasets=("hyperglobal_450k",),
        sensors=("EO-1 Hyperion", "Hyperion", "GF-5", "GF-5 AHSI"),
        supervised=False,
    )
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "input", "branches", "enlarge")
    reference_step_s: ClassVar[float] = 2.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("components", self.components, 1, 1024)
        if self.input == "bank100" and self.components != type(self).components:
            raise StrategyError(
                f"components {self.components} has no meaning with input 'bank100'; set input: pca or leave it out"
            )
        if self.input == "pca" and self.regime == "frozen":
            raise StrategyError(
                "regime 'frozen' would leave the new input layer of input 'pca' random; "
                "allowed: stem, lora, full, or input: bank100; set one of these"
            )

    def weights_name(self) -> str:
        size = "large" if self.size == "large" else "base"
        return f"hypersigma_{'spat' if self.branches == 'spatial' else 'both'}_{size}" + (
            "_pca" if self.input == "pca" else ""
        )

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:  # noqa: ARG002
        """Samples are spaced by wavelength where it is known, so it must be a wavelength."""
        if self.input == "bank100" and wavelengths_nm is not None:
            check_nanometres(wavelengths_nm)

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        if self.regime != "frozen":
            return None
        from strategies.backbones._specs.hypersigma import PATCH_PX, TOKENS, WIDTHS

        sides = map_sides(height_px, width_px, patch_px=PATCH_PX, enlarge=self.enlarge)
        levels = ((WIDTHS[self.size], *sides),) * 4
        return levels if self.branches == "spatial" else (*levels, (WIDTHS[self.size], TOKENS, 1))

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        from strategies.backbones import hypersigma
        from strategies.backbones.hypersigma_inputs import SAMPLES, Resampled, WhitenedComponents

        self.check_sensor(num_bands, wavelengths_nm)
        size, has_both = hypersigma.SIZES[self.size], self.branches == "both"
        select: nn.Module
        if self.input == "pca":
            channels = min(self.components, num_bands)
            select = WhitenedComponents(num_bands, channels)
        else:
            channels = SAMPLES
            select = Resampled(num_bands, wavelengths_nm)
        blocks = "spatial.blocks" if has_both else "blocks"
        return Parts(
            stem=hypersigma.PatchStem(select, channels, size.width, gives_channels=has_both),
            backbone=hypersigma.BothBranches(size, channels) if has_both else hypersigma.SpatialBranch(size),
            channels=(size.width,) * len(size.taps),
            multiple_px=hypersigma.PATCH_PX,
            first_blocks=tuple(f"backbone.{blocks}.{number}" for number in range(size.depth)),
        )

    def filled(self, parts: Parts) -> nn.Module:
        """The published layout: with input bank100 the stem belongs to it."""
        from strategies.backbones import hypersigma

        backbone = parts.backbone
        is_joined = isinstance(backbone, hypersigma.BothBranches)
        spatial: nn.Module = backbone.spatial if is_joined else backbone  # type: ignore[assignment]
        if self.input == "bank100":
            spatial = hypersigma.PublishedSpatial(parts.stem, spatial)  # type: ignore[arg-type]
        return hypersigma.PublishedBoth(spatial, backbone.spectral) if is_joined else spatial  # type: ignore[arg-type]

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,
        weights_path: str | None = None,
    ) -> nn.Module:
        """See `Strategy.build`; the new gate of `branches: both` trains in every regime, so it is part of the head."""
        from strategies.backbones.hypersigma import SIZES, SpectralGate

        model = super().build(
            num_bands=num_bands,
            wavelengths_nm=wavelengths_nm,
            num_classes=num_classes,
            image_size=image_size,
            weights_path=weights_path,
        )
        if self.branches == "both":
            size = SIZES[self.size]
            looked_at = 1 if self.head == "linear" else len(size.taps)
            model.head = SpectralGate(model.head, size.width, looked_at)  # type: ignore[arg-type]
        return model

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:
        """Fit the principal components; see `Strategy.initialise_from_data`."""
        from strategies.backbones.hypersigma_inputs import WhitenedComponents

        for module in model.modules():
            if isinstance(module, WhitenedComponents):
                module.fit(spectra_NC)

    def layers_of(self, model: nn.Module) -> tuple[str, ...]:
        """The spectral branch, of which the first blocks alone are used, learns at the lowest rate of the backbone."""
        if self.branches == "spatial":
            return super().layers_of(model)
        from strategies.backbones.hypersigma import SIZES

        return ("stem", "backbone", *(f"backbone.spatial.blocks.{n}" for n in range(SIZES[self.size].depth)))


STRATEGY = HyperSigma
