"""An encoder of groups of bands for masked autoencoding along the spectrum.

Own implementation of the idea of MAE (arXiv:2111.06377) on spectral tokens, as MAEST has them (ibanezfd/MAEST): tokens
of neighbouring bands over a small window, most of them dropped in pretraining.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategies.backbones.group_tokens import GroupEmbedding
from strategies.backbones.s2former import Sizes
from strategies.backbones.window_attention import TransformerBlock, initialise


class SpectralEncoder(nn.Module):
    """Maps windows of common bands `[N, C0, p, p]` to features `[N, D]`: the mean of the tokens, or the class token."""

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        self.group_embed = GroupEmbedding(sizes.common_bands, sizes.group_bands, sizes.side_px**2, sizes.width)
        self.blocks = nn.ModuleList(
            TransformerBlock(sizes.width, sizes.num_heads, sizes.feed_forward_factor, dropout=sizes.dropout)
            for _ in range(sizes.depth)
        )
        self.norm = nn.LayerNorm(sizes.width)
        # what the common bands stand for is learned with the weights: 1 = wavelengths, 0 = numbers of bands
        self.register_buffer("on_wavelengths", torch.zeros((), dtype=torch.uint8))
        initialise(self)

    @property
    def num_features(self) -> int:
        """Length of the features."""
        return self.sizes.width

    @property
    def class_tokens(self) -> tuple[nn.Parameter, ...]:
        """Class tokens that belong to no module of their own: the only one is the embedding's."""
        return ()

    def first_parts(self, blocks: int) -> tuple[str, ...]:
        """Names of the modules up to and with so many blocks; none of 0."""
        return ("group_embed", *(f"blocks.{n}" for n in range(blocks))) if blocks else ()

    def tokens(self, common_NKpp: Tensor, *, groups: Tensor | None = None, kept_NS: Tensor | None = None) -> Tensor:
        """Tokens of the groups that are shown, after the class token; see `GroupEmbedding`."""
        tokens: Tensor = self.group_embed(common_NKpp, groups=groups, kept_NS=kept_NS)
        for block in self.blocks:
            tokens = block(tokens)
        normalised: Tensor = self.norm(tokens)
        return normalised

    def forward(self, common_NKpp: Tensor, groups: Tensor | None = None) -> Tensor:
        """Features of each window."""
        tokens = self.tokens(common_NKpp, groups=groups)
        return tokens[:, 0] if self.sizes.representation == "cls" else tokens[:, 1:].mean(1)
