"""The image encoder of HyperFree and HyperVision: a SAM-like transformer behind a dictionary of spectral weights.

Written from the published descriptions (Li et al. 2025, arXiv:2503.21841; Fu et al. 2026, arXiv:2605.17286) and the
layout of their weights; parameter names are those of the public checkpoints.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies.backbones.hyperfree_bands import BLOCKS_NM, POINTS_NM, match_bands
from strategies.backbones.hyperfree_blocks import EPSILON, Block, MapNorm, Merging

PATCH_PX = 16
NECK_WIDTH = 256


@dataclass(frozen=True)
class Size:
    """One published architecture."""

    width: int
    depth: int
    heads: int
    global_blocks: tuple[int, ...]
    """Blocks that attend over the whole map; all others within windows."""
    taps: tuple[int, ...]
    """Blocks whose output is a level, before the neck's."""
    merged_after: int | None
    """Block after which four tokens become one; None = never."""
    grid: int
    """Side in tokens of the images that the tables of the global blocks were made for."""


# HyperFree: as all of its authors' examples load it, without merging, on 1024 px.
# HyperVision: as in its authors' example, merging after block 8, on 512 px.
SIZES = {
    "hyperfree_base": Size(768, 12, 12, (2, 5, 8, 11), (2, 5, 8, 11), None, 64),
    "hyperfree_large": Size(1024, 24, 16, (5, 11, 17, 23), (5, 11, 17, 23), None, 64),
    "hyperfree_huge": Size(1280, 32, 16, (7, 15, 23, 31), (7, 15, 23, 31), None, 64),
    "hyperfree_reduced": Size(32, 4, 2, (1, 3), (0, 1, 2, 3), None, 8),
    "hypervision_huge": Size(1280, 32, 16, (15, 23, 31), (8, 15, 31), 8, 32),
    "hypervision_reduced": Size(32, 4, 2, (1, 3), (0, 1, 3), 0, 8),
}


class PositionLayers(nn.Module):
    """Three linear layers on the code of a place."""

    def __init__(self, width: int) -> None:
        super().__init__()
        sizes = (width, width // 2, width // 2, width)
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes, sizes[1:], strict=False))

    def forward(self, codes_ND: Tensor) -> Tensor:
        """Same shape."""
        for layer in self.layers[:-1]:
            codes_ND = functional.relu(layer(codes_ND))
        result: Tensor = self.layers[-1](codes_ND)
        return result


class HyperFreeEncoder(nn.Module):
    """Maps bands `[B, C, H, W]` of 0 to 1 to levels, the finest first; H and W are multiples of a patch.

    Always in what the authors call test mode: all matched bands are used. (Without it 40 are drawn at random.)
    """

    def __init__(
        self, size: Size, wavelengths_nm: Sequence[float], *, range_nm: tuple[float, float], distance_m: float
    ) -> None:
        """Make an encoder for some bands.

        Args:
            size: see `SIZES`.
            wavelengths_nm: band centres, any order.
            range_nm: bands outside of it are left out.
            distance_m: ground distance of neighbouring pixels of the input.
        """
        super().__init__()
        self.size, self.distance_m = size, distance_m
        matched = match_bands(wavelengths_nm, range_nm)
        self.bands_used = len(matched.bands)
        place = {band: number for number, band in enumerate(matched.bands)}
        self._indices("bands", matched.bands)
        # for each pair: where its band stands among the used ones, and its entry in the dictionary
        self._indices("point_place", [place[band] for band, _ in matched.points])
        self._indices("point_entry", [entry for _, entry in matched.points])
        self._indices("block_place", [place[band] for band, _ in matched.blocks])
        self._indices("block_entry", [entry for _, entry in matched.blocks])

        self.pos_embed_mlp = PositionLayers(size.width)
        self.blocks = nn.ModuleList(
            Block(size.width, size.heads, grid=size.grid, is_windowed=number not in size.global_blocks)
            for number in range(size.depth)
        )
        self.neck = nn.Sequential(
            nn.Conv2d(size.width, NECK_WIDTH, kernel_size=1, bias=False),
            MapNorm(NECK_WIDTH, eps=EPSILON),
            nn.Conv2d(NECK_WIDTH, NECK_WIDTH, kernel_size=3, padding=1, bias=False),
            MapNorm(NECK_WIDTH, eps=EPSILON),
        )
        self.point_spectral_weight_bank_w = nn.Parameter(torch.empty(size.width, len(POINTS_NM), PATCH_PX, PATCH_PX))
        self.point_spectral_weight_bank_b = nn.Parameter(torch.zeros(size.width))
        self.block_spectral_weight_bank_w = nn.Parameter(torch.empty(size.width, len(BLOCKS_NM), PATCH_PX, PATCH_PX))
        self.block_spectral_weight_bank_b = nn.Parameter(torch.zeros(size.width))
        for bank in (self.point_spectral_weight_bank_w, self.block_spectral_weight_bank_w):
            nn.init.trunc_normal_(bank, std=0.02)
        if size.merged_after is not None:
            self.multi_scale_convs = nn.ModuleList([Merging(size.width)])

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Levels `[B, D, h, w]` of the tapped blocks and, last, of the neck, `[B, 256, h, w]`."""
        tokens = self._embedded(x_BCHW).permute(0, 2, 3, 1)
        tokens = tokens + self._positions(tokens.shape[1], tokens.shape[2], tokens)
        levels = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.size.taps:
                levels.append(tokens.permute(0, 3, 1, 2))
            if number == self.size.merged_after:
                tokens = self.multi_scale_convs[0](tokens)
        levels.append(self.neck(tokens.permute(0, 3, 1, 2)))
        return levels

    def _embedded(self, x_BCHW: Tensor) -> Tensor:
        """The published sum of two convolutions, as one whose kernel adds up the entries that a band meets."""
        points, blocks = self.point_spectral_weight_bank_w, self.block_spectral_weight_bank_w
        kernel = points.new_zeros(self.size.width, self.bands_used, PATCH_PX, PATCH_PX)
        kernel = kernel.index_add(1, self.point_place, points[:, self.point_entry])
        kernel = kernel.index_add(1, self.block_place, blocks[:, self.block_entry])
        # without any block its weights still belong to the graph, with a gradient of zero: DDP waits for all of them
        has_blocks = float(len(self.block_place) > 0)
        bias = self.point_spectral_weight_bank_b + has_blocks * self.block_spectral_weight_bank_b
        return functional.conv2d(x_BCHW.index_select(1, self.bands), kernel.to(x_BCHW), bias.to(x_BCHW), PATCH_PX)

    def _positions(self, height: int, width: int, like: Tensor) -> Tensor:
        """Sines and cosines of each token's place, `[h, w, D]`, times the ground distance, through the layers.

        The first half of the channels tells the column, the second the row; the unit of place is one token.
        """
        quarter = self.size.width // 4
        frequencies = 10000.0 ** -(torch.arange(quarter, device=like.device, dtype=torch.float32) / quarter)
        codes = []
        for count, shape in ((width, (1, width)), (height, (height, 1))):
            angles = torch.arange(count, device=like.device)[:, None] * self.distance_m * frequencies
            code = torch.cat([angles.sin(), angles.cos()], dim=-1)
            codes.append(code.view(*shape, -1).expand(height, width, -1))
        embedded: Tensor = self.pos_embed_mlp(torch.cat(codes, dim=-1).to(like.dtype))
        return embedded

    def _indices(self, name: str, values: Sequence[int]) -> None:
        # facts of the data set, not of the weights: kept out of the state dict
        self.register_buffer(name, torch.tensor(list(values), dtype=torch.long), persistent=False)

    bands: Tensor
    point_place: Tensor
    point_entry: Tensor
    block_place: Tensor
    block_entry: Tensor


def published_encoder(name: str) -> HyperFreeEncoder:
    """What a published file fills; the same for any bands."""
    return HyperFreeEncoder(SIZES[name], (550.0,), range_nm=(390.0, 2510.0), distance_m=1.0)


hyperfree_base = partial(published_encoder, "hyperfree_base")
hyperfree_large = partial(published_encoder, "hyperfree_large")
hyperfree_huge = partial(published_encoder, "hyperfree_huge")
hypervision_huge = partial(published_encoder, "hypervision_huge")
