"""Layers of the transformers of windows: attention with one projection for all, feed-forward, positions.

Pre-norm residual layers as in ViT (arXiv:2010.11929). Attention goes through torch's fused kernel and never stores its
map; dropout is on the layers' outputs only, since dropout on the map would force the path that stores it.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional


def attend(query_NTD: Tensor, key_value_NSE: Tensor, num_heads: int) -> Tensor:
    """Attended values `[N, T, D]` of queries and of keys and values that lie side by side, `[N, S, 2 D]`."""
    count, length, width = query_NTD.shape
    query = query_NTD.view(count, length, num_heads, -1).transpose(1, 2)
    key, value = key_value_NSE.view(count, key_value_NSE.shape[1], 2, num_heads, -1).permute(2, 0, 3, 1, 4)
    attended = functional.scaled_dot_product_attention(query, key, value)
    return attended.transpose(1, 2).reshape(count, length, width)


class SelfAttention(nn.Module):
    """Multi-head attention of tokens among themselves."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Attended tokens, same shape."""
        width = tokens_NTD.shape[-1]
        query, key_value = self.query_key_value(tokens_NTD).split([width, 2 * width], dim=-1)
        attended: Tensor = self.out(attend(query, key_value, self.num_heads))
        return attended


class CrossAttention(nn.Module):
    """Multi-head attention of tokens to the tokens of another branch."""

    def __init__(self, width: int, num_heads: int) -> None:
        super().__init__()
        self.num_heads = num_heads
        self.query = nn.Linear(width, width)
        self.key_value = nn.Linear(width, 2 * width)
        self.out = nn.Linear(width, width)

    def forward(self, tokens_NTD: Tensor, others_NSD: Tensor) -> Tensor:
        """What each token takes from the others, shape of the tokens."""
        attended: Tensor = self.out(attend(self.query(tokens_NTD), self.key_value(others_NSD), self.num_heads))
        return attended


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int, factor: int) -> None:
        super().__init__()
        self.expand = nn.Linear(width, factor * width)
        self.contract = nn.Linear(factor * width, width)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Tokens, same shape."""
        tokens: Tensor = self.contract(functional.gelu(self.expand(tokens_NTD)))
        return tokens


class TransformerBlock(nn.Module):
    """Self-attention and feed-forward, each after a LayerNorm and beside a residual connection."""

    def __init__(self, width: int, num_heads: int, factor: int, *, dropout: float = 0.0) -> None:
        super().__init__()
        self.norm1, self.norm2 = nn.LayerNorm(width), nn.LayerNorm(width)
        self.attention = SelfAttention(width, num_heads)
        self.feed_forward = FeedForward(width, factor)
        self.dropout = nn.Dropout(dropout)

    def forward(self, tokens_NTD: Tensor) -> Tensor:
        """Tokens, same shape."""
        tokens_NTD = tokens_NTD + self.dropout(self.attention(self.norm1(tokens_NTD)))
        tokens: Tensor = tokens_NTD + self.dropout(self.feed_forward(self.norm2(tokens_NTD)))
        return tokens


def sine_positions(places: int, width: int) -> Tensor:
    """Fixed sine and cosine codes `[places, width]` of places on a line (arXiv:1706.03762, section 3.5)."""
    half = (width + 1) // 2
    rates = torch.exp(torch.arange(half) * (-math.log(10_000.0) / max(1, half)))
    angles = torch.arange(places)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos()], dim=1)[:, :width]


def plane_positions(side_px: int, width: int) -> Tensor:
    """Fixed codes `[side_px ** 2, width]` of the pixels of a window, rows first: half of the width for each axis."""
    first = width // 2
    rows, columns = sine_positions(side_px, first), sine_positions(side_px, width - first)
    return torch.cat(
        [rows.repeat_interleave(side_px, 0), columns.repeat(side_px, 1)],
        dim=1,
    )


def initialise(module: nn.Module) -> None:
    """Xavier-uniform weights and zero biases of every linear layer inside."""
    for layer in module.modules():
        if isinstance(layer, nn.Linear):
            nn.init.xavier_uniform_(layer.weight)
            if layer.bias is not None:
                nn.init.zeros_(layer.bias)
