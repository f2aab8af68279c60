"""HyperSL's encoder: a masked autoencoder of single spectra (Kong et al. 2025, doi:10.1109/TGRS.2025.3566205).

Our own code, with the public checkpoint's parameter names. Two traits of the published network are kept because its
weights were trained with them: in the last layer the attention's output is doubled where a residual connection would
add the layer's input, and LayerNorm's epsilon is torch's 1e-5, not timm's 1e-6. The published forward pass permutes
the bands' tokens even where nothing is masked; the feature does not depend on their order, so this is left out.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from typing import Literal, NamedTuple

import torch
from timm.layers.attention import Attention
from timm.layers.mlp import Mlp
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional

KERNELS = (5, 9, 13)
"""Bands that each of the three first convolutions spans."""
ORIGIN_NM, STEP_NM = 400.0, 10.0
"""A band's place in its position's sines: (wavelength - 400 nm) / 10 nm."""
BASE = 100.0
SIZES = {"small": (256, 8, 8), "reduced": (16, 2, 2)}
"""Width, layers and heads."""
TOKENS_AT_ONCE = 32768
"""Tokens in memory at once; it bounds the memory and does not change results beyond rounding."""

BatchNormMode = Literal["eval", "batch"]


class BandStatistics(NamedTuple):
    """Means and variances that the four BatchNorms of the embedding use, the merging one last."""

    means: tuple[Tensor, ...]
    variances: tuple[Tensor, ...]


Statistics = BandStatistics | Literal["own"] | None
"""What BatchNorm normalises with: given statistics, those of its own input, or as torch's module does (None)."""


class LastLayer(nn.Module):
    """The encoder's last layer: with a = attention(LN1(x)) it gives y + MLP(LN2(y)), y = a + a: x itself is dropped."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attn = Attention(width, num_heads=num_heads, qkv_bias=True)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, hidden_features=4 * width)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Tokens, same shape."""
        attended: Tensor = self.attn(self.norm1(tokens_NTD))
        doubled = attended + attended
        tokens: Tensor = doubled + self.mlp(self.norm2(doubled))
        return tokens


class HyperSLEncoder(nn.Module):
    """Maps spectra `[N, C]`, each band scaled to 0..1, to features `[N, width]`.

    A band is one token: convolutions of 5, 9 and 13 bands, merged, plus its wavelength's position. The feature is the
    global token plus the mean of the bands' tokens.
    """

    def __init__(
        self,
        wavelengths_nm: Sequence[float],
        *,
        size: str = "small",
        order: Sequence[int] | None = None,
    ) -> None:
        """Make the encoder for a list of bands.

        Args:
            wavelengths_nm: band centres, in the order of the cube.
            size: small, or reduced (no published weights).
            order: in which order the convolutions see the bands of the cube; None = as given.
        """
        super().__init__()
        width, layers, num_heads = SIZES[size]
        self.width = width
        places = torch.tensor(list(range(len(wavelengths_nm)) if order is None else order), dtype=torch.long)
        centres = torch.tensor([float(centre) for centre in wavelengths_nm], dtype=torch.float64)
        # facts of the data set, not of the weights: kept out of the state dict
        self.register_buffer("order_C", places, persistent=False)
        self.register_buffer("place_C", ((centres - ORIGIN_NM) / STEP_NM)[places].float(), persistent=False)
        self.register_buffer("div_term", torch.exp(torch.arange(0, width, 2) * -(math.log(BASE) / width)))
        self.global_token = nn.Parameter(torch.zeros(1, 1, width))
        for number, kernel in enumerate(KERNELS, start=1):
            self.add_module(f"embedding_layer_{number}", _convolution(1, width, kernel))
        self.add_module("embedding_layer_4", _convolution(len(KERNELS) * width, width, 1))
        self.encoder_blocks = nn.ModuleList(
            Block(width, num_heads, mlp_ratio=4.0, qkv_bias=True, norm_layer=nn.LayerNorm) for _ in range(layers - 1)
        )
        self.transformer_encoder_layer = LastLayer(width, num_heads)
        self.apply(_initialise)
        nn.init.normal_(self.global_token, std=0.02)

    def forward(self, spectra_NC: Tensor, statistics: Statistics = None) -> Tensor:
        """Features `[N, width]`."""
        return self.encode(self.embed(spectra_NC, statistics))

    def embed(self, spectra_NC: Tensor, statistics: Statistics = None) -> Tensor:
        """A token a band, `[N, C, width]`, without its position."""
        fine = self.fine_features(spectra_NC[:, self.order_C].unsqueeze(1), statistics)  # type: ignore[index]
        merge = self.embedding_layers()[-1]
        return _normed(merge, merge[0](fine), statistics, len(KERNELS)).transpose(1, 2)

    def fine_features(self, x_N1C: Tensor, statistics: Statistics) -> Tensor:
        """What the convolutions over bands see, beside one another: `[N, 3 width, C]`."""
        layers = self.embedding_layers()[:-1]
        return torch.cat([_normed(layer, layer[0](x_N1C), statistics, n) for n, layer in enumerate(layers)], dim=1)

    def encode(self, tokens_NCD: Tensor) -> Tensor:
        """Features `[N, width]` of the bands' tokens."""
        tokens = tokens_NCD + self.positions().to(tokens_NCD.dtype)
        tokens = torch.cat([self.global_token.expand(tokens.shape[0], -1, -1).to(tokens.dtype), tokens], dim=1)
        for block in self.encoder_blocks:
            tokens = block(tokens)
        tokens = self.transformer_encoder_layer(tokens)
        features: Tensor = tokens[:, 0] + tokens[:, 1:].mean(dim=1)
        return features

    def positions(self) -> Tensor:
        """Sines and cosines of the wavelengths in turn, `[C, width]`."""
        angles_CE = self.place_C[:, None] * self.div_term  # type: ignore[index,operator]
        return torch.stack([torch.sin(angles_CE), torch.cos(angles_CE)], dim=-1).flatten(1)

    def embedding_layers(self) -> list[nn.Sequential]:
        """The three convolutions over bands and the one that merges them, each with its BatchNorm and GELU."""
        return [getattr(self, f"embedding_layer_{number}") for number in range(1, len(KERNELS) + 2)]


@torch.no_grad()
def pooled_statistics(encoder: HyperSLEncoder, spectra_NC: Tensor, *, spectra_at_once: int) -> BandStatistics:
    """The statistics that BatchNorm in training mode takes of all spectra together, with only some of them in memory.

    Two passes over the embedding, which costs little beside the transformer: the merging layer's statistics need the
    first three layers' to be known.
    """
    layers = encoder.embedding_layers()
    parts = torch.split(spectra_NC[:, encoder.order_C].unsqueeze(1), spectra_at_once)  # type: ignore[index]
    first = [_moments(layer[0](part) for part in parts) for layer in layers[:-1]]
    found = BandStatistics(tuple(mean for mean, _ in first), tuple(variance for _, variance in first))
    mean, variance = _moments(layers[-1][0](encoder.fine_features(part, found)) for part in parts)
    return BandStatistics((*found.means, mean), (*found.variances, variance))


class PixelFeatures(nn.Module):
    """HyperSL's features of every pixel of images; the backbone of the strategy.

    In `eval` mode a pixel's features depend on its own spectrum (BatchNorm as every other module of the model: running
    statistics, except where the whole model trains). In `batch` mode BatchNorm takes its statistics of a chunk of
    `chunk_pixels` pixels of one image, row by row, as the published export did, whose model was never put in
    evaluation mode; running statistics are neither used nor changed.
    """

    def __init__(self, encoder: HyperSLEncoder, *, bn_mode: BatchNormMode, chunk_pixels: int) -> None:
        super().__init__()
        self.encoder = encoder
        self.bn_mode, self.chunk_pixels = bn_mode, chunk_pixels
        self.bands_used = len(encoder.get_buffer("order_C"))

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """One level: features `[B, width, H, W]`."""
        batch, _, height, width = x_BCHW.shape
        pixels_BPC = x_BCHW.permute(0, 2, 3, 1).flatten(1, 2)
        if self.bn_mode == "batch":
            chunks = [chunk for image_PC in pixels_BPC for chunk in torch.split(image_PC, self.chunk_pixels)]
        else:
            chunks = list(torch.split(pixels_BPC.flatten(0, 1), self.chunk_pixels))
        features_NF = torch.cat([self._of_chunk(chunk_NC) for chunk_NC in chunks])
        return [features_NF.view(batch, height, width, -1).permute(0, 3, 1, 2)]

    def _of_chunk(self, chunk_NC: Tensor) -> Tensor:
        some = max(1, TOKENS_AT_ONCE // (chunk_NC.shape[1] + 1))
        learns = torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self.encoder.parameters())
        if self.bn_mode == "batch" and not learns:
            statistics = pooled_statistics(self.encoder, chunk_NC, spectra_at_once=some)
            return torch.cat([self.encoder(part, statistics) for part in torch.split(chunk_NC, some)])
        if self.bn_mode == "eval" and not self._normalises_by_batch():
            return torch.cat([self.encoder(part) for part in torch.split(chunk_NC, some)])
        # statistics of the whole chunk, with their gradient: its tokens have to be in memory anyway
        tokens_NCD = self.encoder.embed(chunk_NC, "own" if self.bn_mode == "batch" else None)
        return torch.cat([self.encoder.encode(part) for part in torch.split(tokens_NCD, some)])

    def _normalises_by_batch(self) -> bool:
        return any(layer[1].training for layer in self.encoder.embedding_layers())


def hypersl_small() -> HyperSLEncoder:
    """What the published file fills; its weights are the same for any list of bands."""
    return HyperSLEncoder((ORIGIN_NM,), size="small")


def _convolution(in_channels: int, width: int, kernel: int) -> nn.Sequential:
    return nn.Sequential(nn.Conv1d(in_channels, width, kernel, padding="same"), nn.BatchNorm1d(width), nn.GELU())


def _normed(layer: nn.Sequential, x_NDC: Tensor, statistics: Statistics, place: int) -> Tensor:
    """BatchNorm and GELU."""
    norm = layer[1]
    assert isinstance(norm, nn.BatchNorm1d)
    if statistics is None:
        normed: Tensor = norm(x_NDC)
    elif statistics == "own":
        normed = functional.batch_norm(x_NDC, None, None, norm.weight, norm.bias, training=True, eps=norm.eps)
    else:
        mean, variance = statistics.means[place], statistics.variances[place]
        normed = functional.batch_norm(x_NDC, mean, variance, norm.weight, norm.bias, eps=norm.eps)
    activated: Tensor = layer[2](normed)
    return activated


def _moments(parts_NDC: Iterable[Tensor]) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each channel over all parts, merged in float64."""
    count, mean, squares, kind = 0, torch.zeros(()), torch.zeros(()), torch.float32
    for part in parts_NDC:
        more, kind = part.shape[0] * part.shape[2], part.dtype
        variance, centre = (moment.double() for moment in torch.var_mean(part, dim=(0, 2), correction=0))
        away = centre - mean.to(centre)
        squares = squares.to(centre) + variance * more + away**2 * (count * more / (count + more))
        mean = mean.to(centre) + away * (more / (count + more))
        count += more
    return mean.to(kind), (squares / count).to(kind)


def _initialise(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d):
        nn.init.kaiming_uniform_(module.weight)
    elif isinstance(module, nn.Linear):
        nn.init.xavier_uniform_(module.weight)
    if isinstance(module, nn.Conv1d | nn.Linear) and module.bias is not None:
        nn.init.zeros_(module.bias)
