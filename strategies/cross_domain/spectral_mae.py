"""Masked autoencoder on groups of bands: a rival of S2Former by the same machinery.

Own implementation of MAE (arXiv:2111.06377) on spectral tokens, as MAEST has them (ibanezfd/MAEST): of each window most
groups of neighbouring bands are hidden and reconstructed. Bands, windows, fine-tuning and budget are S2Former's.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies._base import Bands, StrategyError, check_range
from strategies._window_transfer import WindowTransfer

if TYPE_CHECKING:
    from torch import nn

    from strategies.backbones.spectral_mae import SpectralEncoder


@dataclass(frozen=True, kw_only=True)
class SpectralMae(WindowTransfer):
    """Masked pretraining along the spectrum on windows of sources; a classifier of windows on the encoder.

    Where a data set has fewer bands than there are common ones, neighbouring common bands are interpolated from the
    same ones, so that the masked task is easier than it looks: lower `common_bands` then.
    """

    mask_ratio: float = 0.75
    """Share of the groups of bands that is hidden in pretraining."""
    decoder_width: int = 64
    """Length of a token in the decoder; pretraining only."""
    decoder_depth: int = 1
    """Blocks of the decoder; pretraining only."""

    summary: ClassVar[str] = "masked autoencoder on groups of bands, pretrained here"
    pretrain_fields: ClassVar[tuple[str, ...]] = ("mask_ratio", "decoder_width", "decoder_depth")
    pretraining_only_fields: ClassVar[tuple[str, ...]] = (*WindowTransfer.pretraining_only_fields, *pretrain_fields)
    smallest_patch: ClassVar[int] = 1
    contract_fields: ClassVar[Mapping[str, Any]] = {**WindowTransfer.contract_fields, "decoder_width": 16}
    reference_step_s: ClassVar[float] = 0.14

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("mask_ratio", self.mask_ratio, 0.05, 0.99)
        check_range("decoder_width", self.decoder_width, 4, 4096)
        check_range("decoder_depth", self.decoder_depth, 1, 16)
        if self.decoder_width % self.heads:
            raise StrategyError(
                f"decoder_width {self.decoder_width} is no multiple of heads {self.heads}; set one that is"
            )

    def make_encoder(self, *, dropout: float) -> SpectralEncoder:
        """See `WindowTransfer.make_encoder`."""
        from strategies.backbones.spectral_mae import SpectralEncoder

        return SpectralEncoder(self.sizes(dropout))

    def build_pretrainer(self, sources: Sequence[Bands]) -> nn.Module:
        """See `Strategy.build_pretrainer`."""
        from strategies.objectives.masked_spectra import MaskedSpectra

        encoder, adapters = self.pretraining_parts(sources)
        return MaskedSpectra(
            encoder,
            adapters,
            mask_ratio=self.mask_ratio,
            decoder_width=self.decoder_width,
            decoder_depth=self.decoder_depth,
        )


STRATEGY = SpectralMae
