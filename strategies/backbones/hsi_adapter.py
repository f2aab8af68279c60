"""Parts of an adapter that brings hyperspectral features into a frozen vision transformer.

A re-implementation from the published description of HSI-Adapter (Hurtado, Mohan and Valada 2025, arXiv:2509.20107),
not validated against its numbers: neither code nor sizes were public. Sizes, plain instead of deformable attention and
the form of the gates are choices of this file; the interplay of injecting and extracting follows ViT-Adapter (Chen et
al. 2023, arXiv:2205.08534).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from strategies._wavelengths import ascending
from strategies.backbones.rgb_stems import ColourProjection
from strategies.heads import ChannelNorm, resize

STAGES = 4
"""Interactions with the transformer, each around a quarter of its blocks."""
PRIOR_WIDTH = 64
"""Channels of the spatial prior at full resolution and a quarter of it."""


class Attention(nn.Module):
    """Queries of one sequence look at another, in fewer channels than either has."""

    def __init__(self, width: int, inner: int) -> None:
        super().__init__()
        self.heads = max(1, inner // 32)
        self.query = nn.Linear(width, inner)
        self.key = nn.Linear(width, inner)
        self.value = nn.Linear(width, inner)
        self.out = nn.Linear(inner, width)

    def forward(self, asking: Tensor, asked: Tensor, values: Tensor) -> Tensor:
        """What `asking` `[B, N, D]` finds: keys from `asked`, values from `values`, both `[B, M, D]`."""
        parts = (self.query(asking), self.key(asked), self.value(values))
        query, key, value = (part.view(*part.shape[:2], self.heads, -1).transpose(1, 2) for part in parts)
        found: Tensor = self.out(functional.scaled_dot_product_attention(query, key, value).transpose(1, 2).flatten(2))
        return found


class SpectralBlock(nn.Module):
    """A transformer's block on the tokens of one spectrum."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.attention = Attention(width, width)
        self.mix = _perceptron(width, 2 * width)

    def forward(self, tokens_NGD: Tensor) -> Tensor:
        """Tokens, same shape."""
        normal = self.norm(tokens_NGD)
        tokens = tokens_NGD + self.attention(normal, normal, normal)
        mixed: Tensor = tokens + self.mix(tokens)
        return mixed


class SpectralTransformer(nn.Module):
    """Features of each pixel's spectrum alone: attention between groups of neighbouring bands, then their mean."""

    def __init__(self, band_order: Sequence[int], *, group_bands: int, width: int, depth: int) -> None:
        super().__init__()
        self.band_order: Tensor
        # a fact of the data set, not of the weights
        self.register_buffer("band_order", torch.tensor(list(band_order)), persistent=False)
        self.group_bands = group_bands
        groups = -(-len(band_order) // group_bands)
        self.embed = nn.Linear(group_bands, width)
        self.places = nn.Parameter(torch.randn(groups, width) * 0.02)
        self.blocks = nn.Sequential(*(SpectralBlock(width) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Features `[B, width, H, W]`."""
        batch, _, height, width = x_BCHW.shape
        pixels_NC = x_BCHW.index_select(1, self.band_order).permute(0, 2, 3, 1).flatten(0, 2)
        pixels_NC = functional.pad(pixels_NC, (0, -pixels_NC.shape[1] % self.group_bands))
        groups_NGg = pixels_NC.view(len(pixels_NC), -1, self.group_bands)
        tokens: Tensor = self.norm(self.blocks(self.embed(groups_NGg) + self.places))
        return tokens.mean(1).view(batch, height, width, -1).permute(0, 3, 1, 2)


class SpatialPrior(nn.Module):
    """Maps of `width` channels at 1/4, 1/8, 1/16 and 1/32 of the input, from convolutions over space and from spectra.

    The spectral transformer sees the mean spectrum of each 4 x 4 pixels; its features join at 1/4.
    """

    def __init__(self, num_bands: int, spectral: SpectralTransformer, spectral_width: int, width: int) -> None:
        super().__init__()
        inner = PRIOR_WIDTH
        self.reduce = _convolution(num_bands, inner, size=1)
        self.quarter = nn.Sequential(_convolution(inner, inner, stride=2), _convolution(inner, inner, stride=2))
        self.spectral = spectral
        self.join = _convolution(inner + spectral_width, inner, size=1)
        widths = (inner, 2 * inner, 4 * inner, 4 * inner)
        self.coarser = nn.ModuleList(_convolution(a, b, stride=2) for a, b in zip(widths, widths[1:], strict=False))
        self.project = nn.ModuleList(nn.Conv2d(inner_width, width, kernel_size=1) for inner_width in widths)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """The four maps, the finest first; sizes are rounded up."""
        spatial = self.quarter(self.reduce(x_BCHW))
        cells = functional.adaptive_avg_pool2d(x_BCHW, spatial.shape[-2:])
        maps = [self.join(torch.cat([spatial, self.spectral(cells)], dim=1))]
        for convolve in self.coarser:
            maps.append(convolve(maps[-1]))
        return [project(level) for project, level in zip(self.project, maps, strict=True)]


class GatedAttention(nn.Module):
    """Adds to one modality what it finds in the other, channel by channel as much as a gate lets through.

    The gate is a linear function of the means of both modalities. It starts at one value for every input.
    """

    def __init__(self, width: int, *, first_gate: float) -> None:
        super().__init__()
        self.norm_asking, self.norm_asked = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = Attention(width, width // 2)
        self.gate = nn.Linear(2 * width, width)
        nn.init.zeros_(self.gate.weight)
        nn.init.constant_(self.gate.bias, first_gate)

    def forward(self, asking: Tensor, asked: Tensor, places: tuple[Tensor, Tensor]) -> Tensor:
        """`asking` `[B, N, D]` with what it found in `asked` `[B, M, D]`; `places` are codes of their positions."""
        query, context = self.norm_asking(asking), self.norm_asked(asked)
        gate = self.gate(torch.cat([query.mean(1), context.mean(1)], dim=-1))[:, None]
        found: Tensor = asking + gate * self.attention(query + places[0], context + places[1], context)
        return found


class Interaction(nn.Module):
    """A modality-aware interaction block: injects into the transformer before its blocks, extracts after them.

    Injection starts closed, so that the transformer starts as pretrained; extraction starts open.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.inject = GatedAttention(width, first_gate=0.0)
        self.extract = GatedAttention(width, first_gate=1.0)
        self.mix = _perceptron(width, max(8, width // 4))


class Adapter(nn.Module):
    """Everything beside the frozen transformer and the head: what trains."""

    def __init__(
        self,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        width: int,
        *,
        group_bands: int,
        spectral_width: int,
        spectral_depth: int,
    ) -> None:
        super().__init__()
        order = ascending(num_bands, wavelengths_nm)
        spectral = SpectralTransformer(list(order), group_bands=group_bands, width=spectral_width, depth=spectral_depth)
        self.picture = ColourProjection(num_bands, wavelengths_nm)
        self.prior = SpatialPrior(num_bands, spectral, spectral_width, width)
        self.into_patches = nn.Conv2d(width, width, kernel_size=1)
        # the patch embedding starts as pretrained
        nn.init.zeros_(self.into_patches.weight)
        nn.init.zeros_(self.into_patches.bias)  # type: ignore[arg-type]
        self.scales = nn.Parameter(torch.randn(3, width) * 0.02)
        self.interactions = nn.ModuleList(Interaction(width) for _ in range(STAGES))
        self.fuse = nn.ModuleList(
            nn.Sequential(ChannelNorm(2 * width), nn.Conv2d(2 * width, width, kernel_size=1)) for _ in range(4)
        )

    def fused(self, levels: Sequence[Tensor], taps: Sequence[Tensor]) -> list[Tensor]:
        """Maps for the head: each of the adapter's levels joined with one of the transformer's."""
        return [
            fuse(torch.cat([level, resize(tap, (level.shape[-2], level.shape[-1]))], dim=1))
            for fuse, level, tap in zip(self.fuse, levels, taps, strict=True)
        ]


def place_codes(grid: tuple[int, int], width: int, like: Tensor) -> Tensor:
    """Sines and cosines of the cells' centres `[1, N, D]`, in shares of the image: grids of any sizes agree."""
    rates = 2 * math.pi * torch.logspace(0, 5, width // 4, base=2.0, device=like.device, dtype=like.dtype)
    axes = [(torch.arange(size, device=like.device, dtype=like.dtype) + 0.5) / size for size in grid]
    rows, columns = (torch.cat([(axis[:, None] * rates).sin(), (axis[:, None] * rates).cos()], dim=1) for axis in axes)
    codes = torch.cat([rows[:, None].expand(-1, grid[1], -1), columns[None].expand(grid[0], -1, -1)], dim=-1)
    return functional.pad(codes.flatten(0, 1)[None], (0, width - codes.shape[-1]))


def _perceptron(width: int, inner: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, inner), nn.GELU(), nn.Linear(inner, width))


def _convolution(in_channels: int, out_channels: int, *, size: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(in_channels, out_channels, size, stride=stride, padding=size // 2, bias=False),
        ChannelNorm(out_channels),
        nn.GELU(),
    )
