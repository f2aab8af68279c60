"""SpectralFormer (Hong et al., IEEE TGRS 60, 2022, arXiv:2107.02988), own code from the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from strategies.backbones.small_transformer import Block


class GroupEmbedding(nn.Module):
    """Group-wise spectral embedding: one token a band, made of it and its neighbours.

    The groups overlap: that of a band holds `group` bands with the band in their middle. Beyond the first and the last
    band the count goes on at the other end, as in the authors' code.
    """

    def __init__(self, num_bands: int, *, group: int, side_px: int, width: int) -> None:
        super().__init__()
        self.members_CG: Tensor
        offsets = torch.arange(group) - group // 2
        self.register_buffer("members_CG", (torch.arange(num_bands)[:, None] + offsets) % num_bands, persistent=False)
        self.embed = nn.Linear(group * side_px**2, width)

    def forward(self, x_NCpp: Tensor) -> Tensor:
        """Tokens `[N, C, width]` of windows `[N, C, p, p]`."""
        groups_NCGP = x_NCpp.flatten(2)[:, self.members_CG]
        tokens: Tensor = self.embed(groups_NCGP.flatten(2))
        return tokens


class CrossLayerFusion(nn.Module):
    """Cross-layer adaptive fusion of what a block is given with what the block two before it was given.

    As in the authors' code, a new token is a learned mixture of all tokens of both; the paper's formula shows two
    learned numbers in that place.
    """

    def __init__(self, tokens: int) -> None:
        super().__init__()
        self.mix = nn.Linear(2 * tokens, tokens)

    def forward(self, recent_NTD: Tensor, earlier_NTD: Tensor) -> Tensor:
        """Tokens of the same shape."""
        both_NTD = torch.cat([recent_NTD, earlier_NTD], dim=1)
        mixed: Tensor = self.mix(both_NTD.transpose(1, 2)).transpose(1, 2)
        return mixed


class SpectralFormerEncoder(nn.Module):
    """Maps windows `[N, C, p, p]` to the features `[N, width]` of the class token."""

    def __init__(
        self,
        num_bands: int,
        *,
        side_px: int,
        group: int,
        width: int,
        depth: int,
        heads: int,
        mlp_width: int,
        dropout: float,
        fuses: bool,
    ) -> None:
        super().__init__()
        self.embed = GroupEmbedding(num_bands, group=group, side_px=side_px, width=width)
        self.class_token = nn.Parameter(torch.randn(1, 1, width))
        self.positions = nn.Parameter(torch.randn(1, num_bands + 1, width))
        self.dropout = nn.Dropout(dropout)
        self.blocks = nn.ModuleList(
            Block(width, heads=heads, mlp_width=mlp_width, dropout=dropout, bias=False) for _ in range(depth)
        )
        self.fusions = nn.ModuleList(CrossLayerFusion(num_bands + 1) for _ in range(depth - 2 if fuses else 0))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_NCpp: Tensor) -> Tensor:
        """Features of each window."""
        tokens_NTD = torch.cat([self.class_token.expand(len(x_NCpp), -1, -1), self.embed(x_NCpp)], dim=1)
        tokens_NTD = self.dropout(tokens_NTD + self.positions)
        given: list[Tensor] = []
        for position, block in enumerate(self.blocks):
            given.append(tokens_NTD)
            if position >= 2 and self.fusions:
                tokens_NTD = self.fusions[position - 2](tokens_NTD, given[position - 2])
            tokens_NTD = block(tokens_NTD)
        features: Tensor = self.norm(tokens_NTD[:, 0])
        return features
