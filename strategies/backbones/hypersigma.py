"""HyperSIGMA: a vision transformer of 8-pixel patches of 100 bands, and one whose tokens are bands.

Written from the published description (Wang et al. 2025, arXiv:2406.11519) and the layout of its weights; parameter
names are those of the public checkpoints. The authors' fine-tuning code adds sampled attention, whose weights were
never pretrained; here attention stays what it was in pretraining.

The embeddings of positions in the files were not used in pretraining (the masked encoder never adds them), so they hold
what they were drawn as. They are added nevertheless, as the authors' fine-tuning code does.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from strategies.backbones.hypersigma_inputs import SAMPLES, pooling_matrix
from strategies.heads import resize

PATCH_PX = 8
GRID = 8
"""Side in patches of the pretraining images."""
SPECTRAL_SIDE_PX = 64
"""Side of the images that the spectral branch was pretrained on: its input layer has a weight for each pixel."""
GATE_WIDTH = 128


@dataclass(frozen=True)
class Size:
    """One published architecture."""

    width: int
    depth: int
    heads: int
    taps: tuple[int, ...]
    """Blocks of the spatial branch whose output is a level."""
    spectral_tap: int
    """Block of the spectral branch that the gate looks at; what comes after it is never used."""


SIZES = {
    "base": Size(768, 12, 12, (3, 5, 7, 11), 3),
    "large": Size(1024, 24, 16, (7, 11, 15, 23), 7),
    "reduced": Size(32, 4, 2, (0, 1, 2, 3), 1),
}


class PatchStem(nn.Module):
    """Bands to the published number of channels, then patches to tokens with positions.

    `select` maps `[B, C, H, W]` to the channels of `patch_embed`. With `gives_channels` the result is the pair of these
    channels and the tokens, for the spectral branch.
    """

    def __init__(self, select: nn.Module, channels: int, width: int, *, gives_channels: bool) -> None:
        super().__init__()
        self.select = select
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, width, PATCH_PX, stride=PATCH_PX)})
        self.pos_embed = nn.Parameter(torch.zeros(1, GRID * GRID, width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.gives_channels = gives_channels

    def forward(self, x_BCHW: Tensor) -> Any:
        """Tokens as a map `[B, D, H / 8, W / 8]`, or channels and tokens."""
        channels_BPHW = self.select(x_BCHW)
        tokens_BDhw = self.patch_embed["proj"](channels_BPHW)
        tokens_BDhw = tokens_BDhw + self._positions((tokens_BDhw.shape[-2], tokens_BDhw.shape[-1]))
        return (channels_BPHW, tokens_BDhw) if self.gives_channels else tokens_BDhw

    def _positions(self, grid: tuple[int, int]) -> Tensor:
        table = self.pos_embed.view(1, GRID, GRID, -1).permute(0, 3, 1, 2)
        if grid == (GRID, GRID):
            return table
        return functional.interpolate(table, size=grid, mode="bicubic", align_corners=False)


class SpatialBranch(nn.Module):
    """The blocks: maps tokens `[B, D, h, w]` to the tapped levels, same shape.

    The last level is normalised, as the encoder's output was in pretraining.
    """

    def __init__(self, size: Size) -> None:
        super().__init__()
        self.taps = size.taps
        self.blocks = nn.ModuleList(_block(size) for _ in range(size.depth))
        self.norm = nn.LayerNorm(size.width, eps=1e-6)

    def forward(self, tokens_BDhw: Tensor) -> list[Tensor]:
        """Levels, the shallowest first."""
        tokens_BND = tokens_BDhw.flatten(2).transpose(1, 2)
        levels = []
        for index, block in enumerate(self.blocks):
            tokens_BND = block(tokens_BND)
            if index in self.taps:
                tapped = self.norm(tokens_BND) if index == len(self.blocks) - 1 else tokens_BND
                levels.append(tapped.transpose(1, 2).reshape(tokens_BDhw.shape))
        return levels


class SpectralBranch(nn.Module):
    """Bands as tokens: maps channels `[B, P, H, W]` to 100 tokens `[B, D, 100, 1]` after the tapped block.

    Any image is first resized to the 64 x 64 pixels of pretraining, so that the published input layer fits. (The
    authors drop it where the image has another size.)
    """

    def __init__(self, size: Size, channels: int = SAMPLES) -> None:
        super().__init__()
        self.spat_map = nn.Linear(SPECTRAL_SIDE_PX**2, size.width)
        self.pos_embed = nn.Parameter(torch.zeros(1, SAMPLES, size.width))
        nn.init.trunc_normal_(self.pos_embed, std=0.02)
        self.blocks = nn.ModuleList(_block(size) for _ in range(size.spectral_tap + 1))
        self.pool: Tensor
        self.register_buffer("pool", torch.from_numpy(pooling_matrix(channels)).float(), persistent=False)

    def forward(self, channels_BPHW: Tensor) -> Tensor:
        """Tokens as a map of one column."""
        images = resize(channels_BPHW, (SPECTRAL_SIDE_PX, SPECTRAL_SIDE_PX)).flatten(2)
        tokens_BTD: Tensor = self.spat_map(self.pool.to(images) @ images) + self.pos_embed
        for block in self.blocks:
            tokens_BTD = block(tokens_BTD)
        return tokens_BTD.transpose(1, 2)[..., None]


class BothBranches(nn.Module):
    """The levels of the spatial branch, then the tokens of the spectral one."""

    def __init__(self, size: Size, channels: int = SAMPLES) -> None:
        super().__init__()
        self.spatial = SpatialBranch(size)
        self.spectral = SpectralBranch(size, channels)

    def forward(self, pair: tuple[Tensor, Tensor]) -> list[Tensor]:
        """Levels `[B, D, h, w]` and, last, tokens `[B, D, 100, 1]`."""
        channels_BPHW, tokens_BDhw = pair
        return [*self.spatial(tokens_BDhw), self.spectral(channels_BPHW)]


class SpectralGate(nn.Module):
    """A head on levels that are weighted by what the spectral branch sees: level times (1 + gate of its channels).

    One set of gates for an image, as in the authors' code; these layers are new, they were never pretrained. The levels
    stay at their own size: that code enlarges each to the image's first.
    """

    def __init__(self, head: nn.Module, width: int, num_levels: int) -> None:
        """Wrap a head that looks at the last `num_levels` levels."""
        super().__init__()
        self.reduce = nn.Linear(width, GATE_WIDTH, bias=False)
        self.gates = nn.ModuleList(
            nn.Sequential(
                nn.Linear(SAMPLES, GATE_WIDTH, bias=False),
                nn.ReLU(),
                nn.Linear(GATE_WIDTH, width, bias=False),
                nn.Sigmoid(),
            )
            for _ in range(num_levels)
        )
        self.head = head

    def forward(self, features: Sequence[Tensor], size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]`."""
        *levels, tokens_BDT1 = features
        spectrum_BT = self.reduce(tokens_BDT1[..., 0].transpose(1, 2)).mean(-1)
        weighted = [
            (1 + gate(spectrum_BT)[:, :, None, None]) * level
            for gate, level in zip(self.gates, levels[-len(self.gates) :], strict=True)
        ]
        logits: Tensor = self.head([*levels[: -len(self.gates)], *weighted], size_px)
        return logits


class PublishedSpatial(nn.Module):
    """Stem and blocks of the spatial branch under the names of the published file; parameters are shared."""

    def __init__(self, stem: PatchStem, branch: SpatialBranch) -> None:
        super().__init__()
        self.patch_embed, self.pos_embed = stem.patch_embed, stem.pos_embed
        self.blocks, self.norm = branch.blocks, branch.norm


class PublishedBoth(nn.Module):
    """Both branches under the names of a joined file (see `hypersigma_join`); parameters are shared."""

    def __init__(self, spatial: nn.Module, spectral: SpectralBranch) -> None:
        super().__init__()
        self.spatial, self.spectral = spatial, spectral


def published_spatial(size: str) -> PublishedSpatial:
    """What the file of the spatial branch fills."""
    stem = PatchStem(nn.Identity(), SAMPLES, SIZES[size].width, gives_channels=False)
    return PublishedSpatial(stem, SpatialBranch(SIZES[size]))


def published_spectral(size: str) -> SpectralBranch:
    """What the file of the spectral branch fills."""
    return SpectralBranch(SIZES[size])


def published_both(size: str, *, has_stem: bool) -> PublishedBoth:
    """What a joined file fills, with or without the spatial branch's stem."""
    spatial = published_spatial(size) if has_stem else SpatialBranch(SIZES[size])
    return PublishedBoth(spatial, published_spectral(size))


def _block(size: Size) -> Block:
    return Block(size.width, size.heads, qkv_bias=True, norm_layer=partial(nn.LayerNorm, eps=1e-6))  # type: ignore[arg-type]


spatial_base, spatial_large = partial(published_spatial, "base"), partial(published_spatial, "large")
spatial_base_blocks, spatial_large_blocks = (
    partial(SpatialBranch, SIZES["base"]),
    partial(SpatialBranch, SIZES["large"]),
)
spectral_base, spectral_large = partial(published_spectral, "base"), partial(published_spectral, "large")
both_base = partial(published_both, "base", has_stem=True)
both_large = partial(published_both, "large", has_stem=True)
both_base_blocks = partial(published_both, "base", has_stem=False)
both_large_blocks = partial(published_both, "large", has_stem=False)
