"""S2Former's encoder: pixels of a window and groups of its bands as two sets of tokens that attend to each other.

A reconstruction from the abstract of arXiv:2601.18088, whose full text was not available: a spatial branch whose input
is masked at random, a spectral branch, and bidirectional cross-attention between them are the paper's. Sizes, places
of the cross-attention, tokens and pooling are choices of this project, and every number is a parameter.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from strategies.backbones.group_tokens import GroupEmbedding, after_class
from strategies.backbones.window_attention import (
    FeedForward,
    SelfAttention,
    attend,
    initialise,
    plane_positions,
)

Representation = Literal["pooled", "cls"]


class Sizes(NamedTuple):
    """Numbers that an encoder of windows is made of."""

    common_bands: int
    group_bands: int
    side_px: int
    width: int
    depth: int
    num_heads: int
    feed_forward_factor: int
    layer_scale: float = 0.1
    """Initial factor on what the branches take from each other."""
    cross_attention: bool = True
    """False: two branches on their own (an ablation)."""
    representation: Representation = "pooled"
    dropout: float = 0.0


class PixelMask(NamedTuple):
    """Which pixels of each window are hidden from the encoder."""

    hidden_NP: Tensor
    """True where hidden."""
    visible_NV: Tensor
    """Numbers of the visible pixels, ascending; as many in every window."""


def draw_pixel_mask(count: int, side_px: int, ratio: float, device: torch.device) -> PixelMask:
    """Hide int(ratio x pixels) pixels of each window at random, never the centre; drawn from torch's generator."""
    pixels = side_px * side_px
    num_hidden = min(int(ratio * pixels), pixels - 1)
    order_NP = torch.rand(count, pixels, device=device)
    order_NP[:, pixels // 2] = -1
    visible_NV = order_NP.argsort(dim=1)[:, : pixels - num_hidden].sort(dim=1).values
    hidden_NP = torch.ones(count, pixels, dtype=torch.bool, device=device).scatter_(1, visible_NV, False)
    return PixelMask(hidden_NP, visible_NV)


class S2Block(nn.Module):
    """Self-attention in each branch, then cross-attention both ways at once, then feed-forward in each branch.

    Both directions read the tokens as they were before either was changed, so the branches have equal standing.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        width, self.num_heads = sizes.width, sizes.num_heads
        self.norm1 = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.attention = nn.ModuleList(SelfAttention(width, sizes.num_heads) for _ in range(2))
        self.has_cross = sizes.cross_attention
        if self.has_cross:
            self.norm2 = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
            # queries for itself, keys and values for the other branch: one product a branch
            self.cross = nn.ModuleList(nn.Linear(width, 3 * width) for _ in range(2))
            self.cross_out = nn.ModuleList(nn.Linear(width, width) for _ in range(2))
            self.scale = nn.ParameterList(nn.Parameter(torch.full((width,), sizes.layer_scale)) for _ in range(2))
        self.norm3 = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.feed_forward = nn.ModuleList(FeedForward(width, sizes.feed_forward_factor) for _ in range(2))
        self.dropout = nn.Dropout(sizes.dropout)

    def forward(self, pixels_NTD: Tensor, groups_NSD: Tensor) -> tuple[Tensor, Tensor]:
        """Tokens of both branches, same shapes."""
        branches = [
            tokens + self.dropout(attention(norm(tokens)))
            for tokens, attention, norm in zip((pixels_NTD, groups_NSD), self.attention, self.norm1, strict=True)
        ]
        if self.has_cross:
            branches = self._exchange(branches)
        pixels, groups = (
            tokens + self.dropout(feed_forward(norm(tokens)))
            for tokens, feed_forward, norm in zip(branches, self.feed_forward, self.norm3, strict=True)
        )
        return pixels, groups

    def _exchange(self, branches: list[Tensor]) -> list[Tensor]:
        width = branches[0].shape[-1]
        projected = [
            project(norm(tokens)).split([width, 2 * width], dim=-1)
            for tokens, project, norm in zip(branches, self.cross, self.norm2, strict=True)
        ]
        taken = [
            out(attend(projected[own][0], projected[1 - own][1], self.num_heads))
            for own, out in enumerate(self.cross_out)
        ]
        return [
            tokens + scale * self.dropout(more) for tokens, more, scale in zip(branches, taken, self.scale, strict=True)
        ]


class S2Encoder(nn.Module):
    """Maps windows of common bands `[N, C0, p, p]` to features `[N, 3 D]`.

    Features are the mean of the pixel tokens, the mean of the group tokens and the centre pixel's token. The two class
    tokens are there, but nothing trains them in masked pretraining, so that they drift to a constant.
    """

    def __init__(self, sizes: Sizes) -> None:
        super().__init__()
        self.sizes = sizes
        width, pixels = sizes.width, sizes.side_px**2
        self.pixel_embed = nn.Linear(sizes.common_bands, width)
        self.group_embed = GroupEmbedding(sizes.common_bands, sizes.group_bands, pixels, width)
        self.pixel_class = nn.Parameter(torch.randn(width) * 0.02)
        self.blocks = nn.ModuleList(S2Block(sizes) for _ in range(sizes.depth))
        self.pixel_norm, self.group_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.register_buffer("pixel_positions_PD", plane_positions(sizes.side_px, width), persistent=False)
        # what the common bands stand for is learned with the weights: 1 = wavelengths, 0 = numbers of bands
        self.register_buffer("on_wavelengths", torch.zeros((), dtype=torch.uint8))
        initialise(self)

    @property
    def num_features(self) -> int:
        """Length of the features."""
        return 3 * self.sizes.width

    @property
    def class_tokens(self) -> tuple[nn.Parameter, ...]:
        """Class tokens that belong to no module of their own."""
        return (self.pixel_class,)

    def first_parts(self, blocks: int) -> tuple[str, ...]:
        """Names of the modules up to and with so many blocks; none of 0."""
        return ("pixel_embed", "group_embed", *(f"blocks.{n}" for n in range(blocks))) if blocks else ()

    def forward(self, common_NKpp: Tensor, groups: Tensor | None = None) -> Tensor:
        """Features of each window, nothing hidden."""
        return self.pool(*self.tokens(common_NKpp, groups=groups))

    def levels(self, common_NKpp: Tensor) -> list[Tensor]:
        """Features after each block."""
        pixels, groups = self.embed_pixels(common_NKpp, None), self.group_embed(common_NKpp)
        found = []
        for block in self.blocks:
            pixels, groups = block(pixels, groups)
            found.append(self.pool(self.pixel_norm(pixels), self.group_norm(groups)))
        return found

    def tokens(
        self,
        common_NKpp: Tensor,
        mask: PixelMask | None = None,
        *,
        groups: Tensor | None = None,
        kept_NS: Tensor | None = None,
    ) -> tuple[Tensor, Tensor]:
        """Tokens of the pixels and of the groups, each after its class token.

        Args:
            common_NKpp: windows of common bands.
            mask: hidden pixels: both branches see the same ones, since a spectral branch that saw more would hand
                their values to the spatial one through the cross-attention.
            groups: numbers of the groups that the data set has; None = those the encoder was set to.
            kept_NS: places among these groups that are shown; None = all.
        """
        visible_NV, hidden_NP = (None, None) if mask is None else (mask.visible_NV, mask.hidden_NP)
        pixels = self.embed_pixels(common_NKpp, visible_NV)
        bands = self.group_embed(common_NKpp, hidden_NP, groups=groups, kept_NS=kept_NS)
        for block in self.blocks:
            pixels, bands = block(pixels, bands)
        return self.pixel_norm(pixels), self.group_norm(bands)

    def embed_pixels(self, common_NKpp: Tensor, visible_NV: Tensor | None) -> Tensor:
        """A token of each visible pixel, `[N, 1 + V, D]`; hidden ones are dropped."""
        values_NKP = common_NKpp.flatten(2)
        positions: Tensor = self.pixel_positions_PD  # type: ignore[assignment]
        if visible_NV is not None:
            values_NKP = values_NKP.gather(2, visible_NV[:, None].expand(-1, values_NKP.shape[1], -1))
            positions = positions[visible_NV]
        return after_class(self.pixel_class, self.pixel_embed(values_NKP.transpose(1, 2)) + positions)

    def pool(self, pixels_NTD: Tensor, groups_NSD: Tensor) -> Tensor:
        """Features `[N, 3 D]` of all tokens of whole windows."""
        centre = pixels_NTD[:, 1 + self.sizes.side_px**2 // 2]
        if self.sizes.representation == "cls":
            return torch.cat([pixels_NTD[:, 0], groups_NSD[:, 0], centre], dim=1)
        return torch.cat([pixels_NTD[:, 1:].mean(1), groups_NSD[:, 1:].mean(1), centre], dim=1)
