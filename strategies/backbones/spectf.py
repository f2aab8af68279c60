"""SpecTf's encoder: a spectrum as a set of (reflectance, wavelength) tokens.

Written from the published description (Lee et al. 2025, doi:10.1073/pnas.2502903122) and the layout of its weights;
parameter names are those of the public checkpoint. It takes any list of bands, because a token carries its wavelength.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

WAVELENGTH_MEAN_NM = 1440.0
WAVELENGTH_SCALE_NM = 600.0
WIDTH = 64
NUM_HEADS = 8


class SelfAttention(nn.Module):
    """Multi-head self-attention in `nn.MultiheadAttention`'s names and layout, never storing the attention map."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, num_heads, batch_first=True)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Attended tokens, same shape."""
        # the module is used as a holder of weights: its own forward takes another path in evaluation mode,
        # which stores the map of every head, [N, heads, T, T]
        holder = self.attention
        count, length, width = tokens_NTD.shape
        stacked = functional.linear(tokens_NTD, holder.in_proj_weight, holder.in_proj_bias)
        query, key, value = stacked.view(count, length, 3, holder.num_heads, -1).permute(2, 0, 3, 1, 4)
        # no dropout on the map itself: it would force the path that stores it, four times slower and far larger
        attended = functional.scaled_dot_product_attention(query, key, value)
        merged = attended.transpose(1, 2).reshape(count, length, width)
        return functional.linear(merged, holder.out_proj.weight, holder.out_proj.bias)


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, *, dropout: float) -> None:
        super().__init__()
        self.linear1 = nn.Linear(width, width)
        self.linear2 = nn.Linear(width, width)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Tokens, same shape."""
        tokens: Tensor = self.linear2(self.dropout(functional.gelu(self.linear1(tokens_NTD))))
        return tokens


class EncoderLayer(nn.Module):
    """Attention and feed-forward, each after a LayerNorm, without residual connections, as the weights were trained."""

    def __init__(self, width: int, num_heads: int, *, dropout: float) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads)
        self.norm2 = nn.LayerNorm(width)
        self.ff = FeedForward(width, dropout=dropout)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Tokens, same shape."""
        tokens_NTD = self.dropout(self.attention(self.norm1(tokens_NTD)))
        tokens: Tensor = self.dropout(self.ff(self.norm2(tokens_NTD)))
        return tokens


class SpectralEmbedding(nn.Module):
    """Turns each (reflectance, wavelength) pair into a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.linear = nn.Linear(2, width)

    def forward(self, pairs_NT2: Tensor) -> Tensor:
        """Tokens `[N, T, width]`."""
        return torch.tanh(self.linear(pairs_NT2))


class SpecTfEncoder(nn.Module):
    """Maps reflectance spectra `[N, T]` to features `[N, 64]`: tokens, encoder layers, maximum over the tokens."""

    def __init__(self, wavelengths_nm: Sequence[float], *, dropout: float = 0.0, num_layers: int = 1) -> None:
        super().__init__()
        positions_T = (torch.tensor(wavelengths_nm, dtype=torch.float32) - WAVELENGTH_MEAN_NM) / WAVELENGTH_SCALE_NM
        # a fact of the data set, not of the weights: kept out of the state dict
        self.register_buffer("positions_T", positions_T, persistent=False)
        self.spectral_embed = SpectralEmbedding(WIDTH)
        self.layers = nn.ModuleList(EncoderLayer(WIDTH, NUM_HEADS, dropout=dropout) for _ in range(num_layers))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                nn.init.zeros_(module.bias)

    def forward(self, spectra_NT: Tensor) -> Tensor:
        """Features of each spectrum; reflectance must be 0 to 1, bands in the order of the wavelengths."""
        positions: Tensor = self.positions_T  # type: ignore[assignment]
        tokens: Tensor = self.spectral_embed(
            torch.stack([spectra_NT, positions.to(spectra_NT).expand_as(spectra_NT)], dim=-1)
        )
        for layer in self.layers:
            tokens = layer(tokens)
        return tokens.amax(dim=1)


def spectral_encoder(wavelengths_nm: Sequence[float] = (WAVELENGTH_MEAN_NM,), *, dropout: float = 0.0) -> SpecTfEncoder:
    """SpecTf 0.1.0's encoder: one layer; the weights are the same for any list of bands."""
    return SpecTfEncoder(wavelengths_nm, dropout=dropout, num_layers=1)
