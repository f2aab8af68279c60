"""Masked pretraining along the spectrum: groups of bands are hidden and reconstructed (see `spectral_mae`)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from strategies.backbones.group_tokens import draw_kept_groups
from strategies.backbones.spectral_mae import SpectralEncoder
from strategies.backbones.window_attention import TransformerBlock, initialise, sine_positions
from strategies.objectives.window_pretraining import ReconstructionDecoder, WindowPretrainer, unused


class MaskedSpectra(WindowPretrainer):
    """Encoder of the groups that are shown, and a light decoder that reconstructs the hidden ones."""

    encoder: SpectralEncoder

    def __init__(
        self,
        encoder: SpectralEncoder,
        adapters: Sequence[nn.Module],
        *,
        mask_ratio: float,
        decoder_width: int,
        decoder_depth: int,
    ) -> None:
        super().__init__(encoder, adapters)
        sizes, self.mask_ratio = encoder.sizes, mask_ratio
        blocks = [
            TransformerBlock(decoder_width, sizes.num_heads, sizes.feed_forward_factor) for _ in range(decoder_depth)
        ]
        self.decoder = ReconstructionDecoder(
            sine_positions(sizes.common_bands // sizes.group_bands, decoder_width),
            nn.Sequential(*blocks),
            width_in=sizes.width,
            width_out=sizes.group_bands * sizes.side_px**2,
            has_mask_token=True,
        )
        initialise(self.decoder)

    def forward(self, x_NCpp: Tensor, labels_N: Tensor, source: int) -> dict[str, Tensor]:  # noqa: ARG002
        """Mean squared error over the bands of hidden groups that the source has."""
        common, groups = self.common(x_NCpp, source), self.groups(source)
        kept_NS = draw_kept_groups(len(common), len(groups), self.mask_ratio, common.device)
        tokens = self.encoder.tokens(common, groups=groups, kept_NS=kept_NS)
        estimate = self.decoder(tokens[:, 1:], kept_NS, groups)
        target = self.encoder.group_embed.values(common.detach().float(), groups)
        shown = torch.zeros(target.shape[:2], device=target.device)
        if kept_NS is not None:
            shown = shown.scatter(1, kept_NS, 1.0)
        bands = self.present(source).view(-1, self.encoder.sizes.group_bands)[groups].float()
        weights = (1 - shown)[..., None] * bands.repeat_interleave(self.encoder.sizes.side_px**2, dim=1)
        error = ((estimate.float() - target).square() * weights).sum() / weights.sum().clamp_min(1)
        spread = tokens[:, 1:].mean(1).detach().float().std(0, unbiased=False).mean()
        return {"loss": error + unused(self.adapters, source), "reconstruction": error.detach(), "feature_std": spread}
