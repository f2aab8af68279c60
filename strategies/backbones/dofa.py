"""DOFA: a vision transformer whose patch embedding is made from the bands' wavelengths (Xiong et al. 2024).

Written from the publication (arXiv:2403.15356) with the layer names of the published files, so that those load. Taps
are the outputs of blocks without a last normalisation, as in the authors' own segmentation.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

from strategies.backbones._positions import as_map, resized_positions, sincos_positions

PATCH_PX = 16
TRAINED_GRID = (14, 14)
CODE_WIDTH = 128
"""Width of the wavelengths' codes and of the tokens in the network that makes the kernels."""
NUM_WEIGHT_TOKENS = 128
KERNEL_SCALE = 0.01
RGB_NM = (665.0, 560.0, 490.0)
SIZES: dict[str, tuple[int, int, int, tuple[int, ...]]] = {
    "base": (768, 12, 12, (3, 5, 7, 11)),
    "large": (1024, 24, 16, (5, 11, 17, 23)),
    "reduced": (32, 4, 4, (0, 1, 2, 3)),
}
"""Width, depth, heads and tapped blocks."""


class DOFA(nn.Module):
    """Maps bands `[B, C, H, W]` (H and W multiples of 16) to one feature map `[B, D, H/16, W/16]` a tapped block."""

    def __init__(
        self, wavelengths_nm: Sequence[float], *, width: int, depth: int, num_heads: int, taps: Sequence[int]
    ) -> None:
        super().__init__()
        self.taps = tuple(taps)
        self.patch_embed = HyperPatchEmbedding(wavelengths_nm, width)
        self.cls_token = nn.Parameter(torch.zeros(1, 1, width))
        self.pos_embed = nn.Parameter(sincos_positions(TRAINED_GRID, width))
        norm: Any = partial(nn.LayerNorm, eps=1e-6)
        self.blocks = nn.ModuleList(
            Block(width, num_heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=norm) for _ in range(depth)
        )

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Feature maps of the tapped blocks, the first block's first."""
        patches_BDhw = self.patch_embed(x_BCHW)
        grid = (patches_BDhw.shape[-2], patches_BDhw.shape[-1])
        tokens = patches_BDhw.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        tokens = tokens + resized_positions(self.pos_embed, TRAINED_GRID, grid)
        levels = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.taps:
                levels.append(as_map(tokens, grid))
        return levels


class HyperPatchEmbedding(nn.Module):
    """A convolution of 16 x 16 patches whose kernel is made from the bands' wavelengths.

    The padding of one pixel on each side is the published model's; a multiple of 16 still gives a 16th of its size.
    """

    def __init__(self, wavelengths_nm: Sequence[float], width: int) -> None:
        super().__init__()
        self.width = width
        self.weight_generator = KernelGenerator(width)
        self.fclayer = ResidualLayer(CODE_WIDTH)
        # facts of the data set, not of the weights: kept out of the state dict
        self.register_buffer("codes_CF", wavelength_codes(wavelengths_nm), persistent=False)
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.constant_(module.bias, 0.01)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Patches `[B, D, H/16, W/16]`."""
        codes: Tensor = self.codes_CF  # type: ignore[assignment]
        kernels_CK, bias_D = self.weight_generator(self.fclayer(codes))
        kernels = kernels_CK.view(-1, PATCH_PX, PATCH_PX, self.width).permute(3, 0, 1, 2)
        return functional.conv2d(x_BCHW, kernels * KERNEL_SCALE, bias_D * KERNEL_SCALE, stride=PATCH_PX, padding=1)


class KernelGenerator(nn.Module):
    """Codes of bands `[C, 128]` to kernels `[C, 16 * 16 * D]` and one bias `[D]`, by attention among the bands."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight_tokens = nn.Parameter(torch.randn(NUM_WEIGHT_TOKENS, CODE_WIDTH) * 0.02)
        self.bias_token = nn.Parameter(torch.randn(1, CODE_WIDTH) * 0.02)
        self.transformer_encoder = _Layers(TokenLayer(CODE_WIDTH, num_heads=4, hidden=2048))
        self.fc_weight = nn.Linear(CODE_WIDTH, PATCH_PX * PATCH_PX * width)
        self.fc_bias = nn.Linear(CODE_WIDTH, width)

    def forward(self, codes_CF: Tensor) -> tuple[Tensor, Tensor]:
        """Kernels of the bands and the bias."""
        tokens = self.transformer_encoder(torch.cat([self.weight_tokens, codes_CF, self.bias_token]))
        return self.fc_weight(tokens[NUM_WEIGHT_TOKENS:-1] + codes_CF), self.fc_bias(tokens[-1])


class TokenLayer(nn.Module):
    """A transformer layer on tokens `[T, F]`, normalised after each of its two halves."""

    def __init__(self, width: int, *, num_heads: int, hidden: int) -> None:
        super().__init__()
        # holds the weights under their published names; its own forward has a fused path that cannot be exported
        self.self_attn = nn.MultiheadAttention(width, num_heads)
        self.linear1 = nn.Linear(width, hidden)
        self.linear2 = nn.Linear(hidden, width)
        self.norm1 = nn.LayerNorm(width)
        self.norm2 = nn.LayerNorm(width)

    def forward(self, tokens_TF: Tensor) -> Tensor:
        """Tokens, same shape."""
        tokens_TF = self.norm1(tokens_TF + self._attend(tokens_TF))
        tokens: Tensor = self.norm2(tokens_TF + self.linear2(functional.gelu(self.linear1(tokens_TF))))
        return tokens

    def _attend(self, tokens_TF: Tensor) -> Tensor:
        held = self.self_attn
        count, width = tokens_TF.shape
        stacked = functional.linear(tokens_TF, held.in_proj_weight, held.in_proj_bias)
        query, key, value = stacked.view(count, 3, held.num_heads, -1).permute(1, 2, 0, 3)[:, None]
        mixed = functional.scaled_dot_product_attention(query, key, value)[0]
        return functional.linear(mixed.transpose(0, 1).reshape(count, width), held.out_proj.weight, held.out_proj.bias)


class ResidualLayer(nn.Module):
    """x + ReLU(W2 ReLU(W1 x))."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.w1 = nn.Linear(width, width)
        self.w2 = nn.Linear(width, width)

    def forward(self, x_CF: Tensor) -> Tensor:
        """Same shape."""
        return x_CF + functional.relu(self.w2(functional.relu(self.w1(x_CF))))


class _Layers(nn.Module):
    """Layers one after the other, under the name `layers`."""

    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.ModuleList(layers)

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.layers:
            x = layer(x)
        return x


def wavelength_codes(wavelengths_nm: Sequence[float]) -> Tensor:
    """Sine and cosine codes of band centres, `[C, 128]`; the model takes micrometres, and its codes 1000 times them."""
    micrometres = torch.tensor([centre / 1000 for centre in wavelengths_nm], dtype=torch.float32)
    half = CODE_WIDTH // 2
    frequencies = 1.0 / 10000 ** (torch.arange(half, dtype=torch.float32) / half)
    angles = (micrometres * 1000)[:, None] * frequencies
    return torch.cat([angles.sin(), angles.cos()], dim=1)


def make_dofa(size: str, wavelengths_nm: Sequence[float] = RGB_NM) -> DOFA:
    """DOFA of a published size, or `reduced` (no weights), with random weights."""
    width, depth, num_heads, taps = SIZES[size]
    return DOFA(wavelengths_nm, width=width, depth=depth, num_heads=num_heads, taps=taps)


def dofa_base() -> DOFA:
    """What the published base file fills: the weights are the same for any bands."""
    return make_dofa("base")


def dofa_large() -> DOFA:
    """What the published large file fills."""
    return make_dofa("large")
