"""CARL's encoder: bands become a few queries, patch by patch, and a vision transformer looks at the patches.

Baumann et al. 2026 (arXiv:2504.19223). Our own code around timm's EVA-02, with the published file's parameter names.
Nothing is downloaded: the published code starts from DINOv2 and EVA-02 weights, which its own checkpoint replaces.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from timm.layers.mlp import Mlp
from timm.models.eva import Eva
from torch import Tensor, nn
from torch.nn import functional

from strategies.backbones._positions import as_map, resized_positions

PATCH_PX = 8
NM_IN_UM = 1000.0
NUM_QUERIES, SPECTRAL_LAYERS = 8, 8
SIGMA_PER_UM = 3.0
"""Spread of the random frequencies that wavelengths in micrometres are multiplied by."""
LAYER_SCALE = 1e-4
GRID = (16, 16)
"""Patches of the pretraining's images, 128 x 128 pixels."""
SIZES = {"base": (384, 6, 768, 12, 8), "reduced": (32, 4, 32, 4, 4)}
"""Width and heads of the spectral encoder, then width, heads and layers of the spatial one."""
TOKENS_AT_ONCE = 65536
"""Bands of patches in memory at once; it bounds the memory and does not change results beyond rounding."""
SEED = 0


class SplitAttention(nn.Module):
    """Multi-head attention with layers of its own for queries, keys and values."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.q, self.k, self.v = (nn.Linear(width, width) for _ in range(3))
        self.proj = nn.Linear(width, width)

    def forward(self, asking_NQD: Tensor, asked_NTD: Tensor) -> Tensor:
        """What those who ask get, `[N, Q, width]`."""
        count, length, width = asking_NQD.shape
        parts = (self.q(asking_NQD), self.k(asked_NTD), self.v(asked_NTD))
        query, key, value = (part.view(count, part.shape[1], self.num_heads, -1).transpose(1, 2) for part in parts)
        attended = functional.scaled_dot_product_attention(query, key, value)
        projected: Tensor = self.proj(attended.transpose(1, 2).reshape(count, length, width))
        return projected


class LayerScale(nn.Module):
    """A learned factor a channel."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.full((width,), LAYER_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Scaled input."""
        return x * self.gamma


class SpectralBlock(nn.Module):
    """Attention and MLP, each after a LayerNorm and with a scale; one LayerNorm for those who ask and the asked."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=1e-6)
        self.attn = SplitAttention(width, num_heads)
        self.ls1 = LayerScale(width)
        self.norm2 = nn.LayerNorm(width, eps=1e-6)
        self.mlp = Mlp(width, hidden_features=4 * width)
        self.ls2 = LayerScale(width)

    def forward(self, asking_NQD: Tensor, asked_NTD: Tensor | None = None) -> Tensor:
        """Those who ask, one step further; they ask themselves unless others are given."""
        normed = self.norm1(asking_NQD)
        asked = normed if asked_NTD is None else self.norm1(asked_NTD)
        asking_NQD = asking_NQD + self.ls1(self.attn(normed, asked))
        tokens: Tensor = asking_NQD + self.ls2(self.mlp(self.norm2(asking_NQD)))
        return tokens


class WavelengthEncoding(nn.Module):
    """Sines and cosines of wavelengths at random frequencies; these belong to the weights and are loaded with them."""

    dims: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        # drawn with a fixed seed on the CPU, so that a random initialisation is the same everywhere
        drawn = torch.randn(width // 2, generator=torch.Generator().manual_seed(SEED), device="cpu")
        dims = (2 * math.pi * SIGMA_PER_UM * drawn).repeat_interleave(2)
        self.register_buffer("dims", dims.to(torch.empty(0).device), persistent=True)

    def forward(self, wavelengths_um_C: Tensor) -> Tensor:
        """`[C, width]`: sine at even places, cosine at odd ones."""
        angles_CD = wavelengths_um_C[:, None] * self.dims
        is_even = torch.arange(angles_CD.shape[1], device=angles_CD.device) % 2 == 0
        return torch.where(is_even, torch.sin(angles_CD), torch.cos(angles_CD))


class SpectralEncoder(nn.Module):
    """Turns the tokens of a patch's bands, any number in any order, into 8 queries' answers."""

    queries_pos_enc: Tensor

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.queries = nn.Parameter(torch.empty(1, NUM_QUERIES, width))
        nn.init.trunc_normal_(self.queries, std=0.02)
        self.register_buffer("queries_pos_enc", _query_positions(width), persistent=True)
        self.blocks = nn.ModuleList(SpectralBlock(width, num_heads) for _ in range(SPECTRAL_LAYERS))
        self.norm = nn.LayerNorm(width, eps=1e-6)
        self.positional_embedding = WavelengthEncoding(width)

    def forward(self, tokens_NCD: Tensor, wavelengths_um_C: Tensor) -> Tensor:
        """Answers `[N, 8, width]`."""
        tokens = tokens_NCD + self.positional_embedding(wavelengths_um_C).to(tokens_NCD.dtype)
        queries = (self.queries + self.queries_pos_enc).expand(tokens.shape[0], -1, -1)
        for number, block in enumerate(self.blocks):
            if number % 2 == 0:
                tokens = block(tokens)
            else:
                queries = block(queries, tokens)
        answers: Tensor = self.norm(queries)
        return answers


class EvaTrunk(nn.Module):
    """EVA-02's first blocks on a map of tokens, without its patch embedding and last norm, which CARL never calls."""

    def __init__(self, width: int, num_heads: int, layers: int) -> None:
        super().__init__()
        whole = Eva(
            img_size=224,
            patch_size=14,
            embed_dim=width,
            depth=layers,
            num_heads=num_heads,
            qkv_fused=False,
            mlp_ratio=4 * 2 / 3,
            swiglu_mlp=True,
            scale_mlp=True,
            use_rot_pos_emb=True,
            ref_feat_shape=GRID,
            num_classes=0,
            dynamic_img_size=True,
        )
        assert isinstance(whole.cls_token, nn.Parameter)
        assert isinstance(whole.pos_embed, nn.Parameter)
        self.cls_token, self.pos_embed = whole.cls_token, whole.pos_embed
        self.blocks = whole.blocks
        self.rope: Any = whole.rope

    def forward(self, tokens_BhwD: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """Maps `[B, width, h, w]` after the blocks `taps`."""
        batch, height, width_px, _ = tokens_BhwD.shape
        grid = (height, width_px)
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), tokens_BhwD.flatten(1, 2)], dim=1)
        tokens = tokens + resized_positions(self.pos_embed, GRID, grid)
        rotations, levels = self.rope.get_embed(shape=grid), []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens, rope=rotations)
            if number in taps:
                levels.append(as_map(tokens, grid))
        return levels


class SpatialEncoder(nn.Module):
    """Holds the trunk under its published name."""

    def __init__(self, width: int, num_heads: int, layers: int) -> None:
        super().__init__()
        self.net = EvaTrunk(width, num_heads, layers)

    def forward(self, tokens_BhwD: Tensor, taps: Sequence[int]) -> list[Tensor]:
        """See `EvaTrunk`."""
        levels: list[Tensor] = self.net(tokens_BhwD, taps)
        return levels


class Carl(nn.Module):
    """CARL's backbone: images of any bands, each standardised as a whole, to maps of stride 8."""

    def __init__(self, wavelengths_nm: Sequence[float], *, size: str = "base", taps: Sequence[int] = (-1,)) -> None:
        """Make the backbone for a list of bands.

        Args:
            wavelengths_nm: band centres, in the order of the cube.
            size: base, or reduced (no published weights).
            taps: blocks of the spatial encoder whose maps are given; negative ones count from the last.
        """
        super().__init__()
        inner, inner_heads, outer, outer_heads, layers = SIZES[size]
        self.embedder = nn.Conv2d(1, inner, kernel_size=PATCH_PX, stride=PATCH_PX)
        self.spectral_tf = SpectralEncoder(inner, inner_heads)
        self.linear_connector = nn.Linear(inner, outer)
        self.spatial_encoder = SpatialEncoder(outer, outer_heads, layers)
        self.taps = tuple(tap % layers for tap in taps)
        self.bands_used = len(wavelengths_nm)
        # a fact of the data set, not of the weights: kept out of the state dict
        centres_um_C = torch.tensor([float(centre) / NM_IN_UM for centre in wavelengths_nm], dtype=torch.float32)
        self.register_buffer("wavelengths_um_C", centres_um_C, persistent=False)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """One map `[B, width, H / 8, W / 8]` a tap."""
        batch, bands, height, width = x_BCHW.shape
        patches = self.embedder(x_BCHW.reshape(batch * bands, 1, height, width))
        grid = (patches.shape[-2], patches.shape[-1])
        tokens_NCD = patches.view(batch, bands, -1, *grid).permute(0, 3, 4, 1, 2).flatten(0, 2)
        parts = torch.split(tokens_NCD, max(1, TOKENS_AT_ONCE // bands))
        summed = torch.cat([self.spectral_tf(part, self.wavelengths_um_C).sum(dim=1) for part in parts])
        connected = self.linear_connector(functional.layer_norm(summed, summed.shape[-1:]))
        levels: list[Tensor] = self.spatial_encoder(connected.view(batch, *grid, -1), self.taps)
        return levels


class ImageStandardised(nn.Module):
    """Each image less its mean over its deviation, of all bands and pixels together: a spectrum keeps its shape."""

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Images of mean 0 and deviation 1."""
        deviation, mean = torch.std_mean(x_BCHW, dim=(1, 2, 3), keepdim=True, correction=0)
        return (x_BCHW - mean) / deviation.clamp(min=torch.finfo(x_BCHW.dtype).tiny ** 0.5)


def carl_base() -> Carl:
    """What the published file fills; its weights are the same for any list of bands."""
    return Carl((550.0,))


def _query_positions(width: int) -> Tensor:
    """Sines, then cosines, of the queries' numbers, `[1, 8, width]`."""
    frequencies = 10000.0 ** -(torch.arange(width // 2) / (width / 2))
    angles = torch.arange(NUM_QUERIES)[:, None] * frequencies
    return torch.cat([torch.sin(angles), torch.cos(angles)], dim=1)[None]
