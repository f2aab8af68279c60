"""Masked pretraining of S2Former: hidden pixels are reconstructed by both branches, under a frequency constraint.

A reconstruction from the abstract of arXiv:2601.18088 (see `strategies.backbones.s2former`).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies.backbones.group_tokens import draw_kept_groups
from strategies.backbones.s2former import PixelMask, S2Encoder, draw_pixel_mask
from strategies.backbones.window_attention import TransformerBlock, initialise, plane_positions, sine_positions
from strategies.objectives.frequency import FrequencyConstraint
from strategies.objectives.window_pretraining import ReconstructionDecoder, WindowPretrainer, unused


class MaskingSettings(NamedTuple):
    """Numbers of the masked pretraining."""

    mask_ratio: float
    spectral_mask_ratio: float
    decoder_width: int
    decoder_depth: int
    frequency_weight: float
    high_frequency_weight: float
    consistency_weight: float
    variance_weight: float


class MaskedReconstruction(WindowPretrainer):
    """Encoder, one light decoder a branch, and the terms of the loss.

    The class tokens get no loss of their own, so `consistency_weight`, where it is above 0, is on the mean tokens, with
    a floor under their spread as in VICReg (arXiv:2105.04906).
    """

    encoder: S2Encoder

    def __init__(
        self,
        encoder: S2Encoder,
        adapters: Sequence[nn.Module],
        constraint: FrequencyConstraint,
        settings: MaskingSettings,
    ) -> None:
        super().__init__(encoder, adapters)
        sizes = encoder.sizes
        self.settings, self.constraint = settings, constraint
        pixels = sizes.side_px**2
        self.pixel_decoder = ReconstructionDecoder(
            plane_positions(sizes.side_px, settings.decoder_width),
            _blocks(settings.decoder_width, settings.decoder_depth, encoder),
            width_in=sizes.width,
            width_out=sizes.common_bands,
            has_mask_token=True,
        )
        self.group_decoder = ReconstructionDecoder(
            sine_positions(sizes.common_bands // sizes.group_bands, sizes.width),
            _blocks(sizes.width, settings.decoder_depth, encoder),
            width_in=sizes.width,
            width_out=sizes.group_bands * pixels,
            has_mask_token=settings.spectral_mask_ratio > 0,
        )
        initialise(self.pixel_decoder)
        initialise(self.group_decoder)
        self.project: nn.ModuleList | None = None
        if settings.consistency_weight > 0:
            self.project = nn.ModuleList(
                nn.Sequential(nn.Linear(sizes.width, sizes.width), nn.GELU(), nn.Linear(sizes.width, sizes.width))
                for _ in range(2)
            )

    def forward(self, x_NCpp: Tensor, labels_N: Tensor, source: int) -> dict[str, Tensor]:  # noqa: ARG002
        """The loss and its terms by name, on a mask drawn from torch's generator."""
        common, groups = self.common(x_NCpp, source), self.groups(source)
        sizes, settings = self.encoder.sizes, self.settings
        mask = draw_pixel_mask(len(common), sizes.side_px, settings.mask_ratio, common.device)
        kept_NS = draw_kept_groups(len(common), len(groups), settings.spectral_mask_ratio, common.device)
        pixels, bands = self.encoder.tokens(common, mask, groups=groups, kept_NS=kept_NS)
        estimates = self._decode(pixels[:, 1:], bands[:, 1:], mask, groups, kept_NS)
        terms = self._compare(common, estimates, mask, source)
        means = pixels[:, 1:].mean(1).float(), bands[:, 1:].mean(1).float()
        terms["feature_std"] = torch.cat(means, dim=1).detach().std(0, unbiased=False).mean()
        loss = (
            terms["reconstruction"]
            + settings.frequency_weight * terms["frequency"]
            + settings.high_frequency_weight * terms["high_frequency"]
        )
        if self.project is not None:
            terms["consistency"], floor = self._agree(*means)
            loss = loss + settings.consistency_weight * (terms["consistency"] + settings.variance_weight * floor)
        terms = {name: value.detach() for name, value in terms.items()}
        return {"loss": loss + unused(self.adapters, source), **terms}

    def _decode(
        self, pixels: Tensor, bands: Tensor, mask: PixelMask, groups: Tensor, kept_NS: Tensor | None
    ) -> list[Tensor]:
        """Windows of common bands `[N, C0, p, p]` as the spatial and the spectral branch see them."""
        sizes = self.encoder.sizes
        shape = (len(pixels), sizes.common_bands, sizes.side_px, sizes.side_px)
        spatial = self.pixel_decoder(pixels, mask.visible_NV).transpose(1, 2).reshape(shape)
        spectral = self.group_decoder(bands, kept_NS, groups)
        num_groups = sizes.common_bands // sizes.group_bands
        if len(groups) < num_groups:
            whole = spectral.new_zeros(len(spectral), num_groups, spectral.shape[-1])
            spectral = whole.index_copy(1, groups, spectral)
        return [spatial, spectral.reshape(shape)]

    def _compare(self, common: Tensor, estimates: list[Tensor], mask: PixelMask, source: int) -> dict[str, Tensor]:
        """Masked squared error and frequency terms, summed over the branches; over bands that the source has."""
        target = common.detach().float()
        # a learned adapter's output is a target too: it must not be drawn towards what is easy to reconstruct
        hidden = mask.hidden_NP.view(len(common), 1, *common.shape[2:])
        differences = [(estimate.float() - target) * hidden for estimate in estimates]
        first, last = self.present_range(source)
        target, *differences = (x[:, first:last] for x in (target, *differences))
        count = hidden.sum().clamp_min(1) * target.shape[1]
        terms = {"reconstruction": torch.stack([d.square().sum() / count for d in differences]).sum()}
        zero = torch.zeros_like(terms["reconstruction"])
        terms |= {"frequency": zero, "high_frequency": zero}
        if self.settings.frequency_weight > 0 or self.settings.high_frequency_weight > 0:
            spectra = self.constraint.spectra(target)
            for difference in differences:
                found = self.constraint(spectra, difference)
                terms["frequency"] = terms["frequency"] + found.consistency
                terms["high_frequency"] = terms["high_frequency"] + found.high_magnitude
        return terms

    def _agree(self, pixels_ND: Tensor, bands_ND: Tensor) -> tuple[Tensor, Tensor]:
        """How far each branch's projection is from the other branch's mean token, and how far spreads fall below 1."""
        assert self.project is not None
        first = functional.cosine_similarity(self.project[0](pixels_ND), bands_ND.detach()).mean()
        second = functional.cosine_similarity(self.project[1](bands_ND), pixels_ND.detach()).mean()
        spreads = [(mean.var(0, unbiased=False) + 1e-4).sqrt() for mean in (pixels_ND, bands_ND)]
        floor = torch.stack([functional.relu(1 - spread).mean() for spread in spreads]).sum()
        return 1 - (first + second) / 2, floor


def _blocks(width: int, depth: int, encoder: S2Encoder) -> nn.Sequential:
    sizes = encoder.sizes
    return nn.Sequential(*(TransformerBlock(width, sizes.num_heads, sizes.feed_forward_factor) for _ in range(depth)))
