"""Transformer blocks with relative positions and windows, as in SAM (Kirillov et al. 2023, arXiv:2304.02643).

Parameter names are those of the public checkpoints. Tokens are maps with the channels last, `[B, h, w, D]`.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

WINDOW = 14
"""Side in tokens of the windows of most blocks."""
EPSILON = 1e-6


class RelativeAttention(nn.Module):
    """Self-attention over all tokens of a map, with a learned term for the distance in rows and in columns.

    `grid` is the side of the map that the table of distances was made for.
    """

    def __init__(self, width: int, heads: int, grid: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)
        self.rel_pos_h = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))
        self.rel_pos_w = nn.Parameter(torch.zeros(2 * grid - 1, width // heads))

    def forward(self, x_BhwD: Tensor, *, is_cut: bool) -> Tensor:
        """Attended tokens, same shape.

        Args:
            x_BhwD: tokens.
            is_cut: a map smaller than `grid` uses the middle of the table, so that a distance keeps its meaning;
                otherwise the table is interpolated to the map, as published.
        """
        batch, height, width, channels = x_BhwD.shape
        query, key, value = self.qkv(x_BhwD).view(batch, height * width, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        rows_hhd = distances(self.rel_pos_h, height, is_cut=is_cut)
        columns_wwd = distances(self.rel_pos_w, width, is_cut=is_cut)
        # the table meets the query as it is, without the scale of the product of query and key
        places = query.view(batch, self.heads, height, width, -1)
        by_row = torch.einsum("bnhwc,hkc->bnhwk", places, rows_hhd)
        by_column = torch.einsum("bnhwc,wkc->bnhwk", places, columns_wwd)
        term = (by_row[..., :, None] + by_column[..., None, :]).flatten(-2).flatten(2, 3)
        attended = functional.scaled_dot_product_attention(query, key, value, attn_mask=term)
        mixed: Tensor = self.proj(attended.transpose(1, 2).reshape(batch, height, width, channels))
        return mixed


def distances(table_LC: Tensor, side: int, *, is_cut: bool) -> Tensor:
    """Row of the table for each pair of places on a line of `side` places, `[side, side, C]`."""
    wanted = 2 * side - 1
    length = len(table_LC)
    if length != wanted and is_cut and length > wanted:
        first = (length - wanted) // 2
        table_LC = table_LC[first : first + wanted]
    elif length != wanted:
        table_LC = functional.interpolate(table_LC.T[None], size=wanted, mode="linear")[0].T
    places = torch.arange(side, device=table_LC.device)
    return table_LC[places[:, None] - places[None] + side - 1]


class FeedForward(nn.Module):
    """Two linear layers with a GELU between them."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.lin1 = nn.Linear(width, 4 * width)
        self.lin2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """Same shape."""
        result: Tensor = self.lin2(functional.gelu(self.lin1(x)))
        return result


class Block(nn.Module):
    """Attention and feed-forward, each after a LayerNorm and with a residual connection.

    A windowed one attends within windows of 14 x 14; a map that fits into one window is not padded to it.
    """

    def __init__(self, width: int, heads: int, *, grid: int, is_windowed: bool) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPSILON)
        self.attn = RelativeAttention(width, heads, WINDOW if is_windowed else grid)
        self.norm2 = nn.LayerNorm(width, eps=EPSILON)
        self.mlp = FeedForward(width)
        self.is_windowed = is_windowed

    def forward(self, x_BhwD: Tensor) -> Tensor:
        """Tokens, same shape."""
        height, width = x_BhwD.shape[1:3]
        normal = self.norm1(x_BhwD)
        if self.is_windowed and max(height, width) > WINDOW:
            attended = joined(self.attn(windows(normal), is_cut=True), height, width)
        else:
            attended = self.attn(normal, is_cut=self.is_windowed)
        x_BhwD = x_BhwD + attended
        result: Tensor = x_BhwD + self.mlp(self.norm2(x_BhwD))
        return result


def windows(x_BhwD: Tensor) -> Tensor:
    """Windows `[B * n, 14, 14, D]`; the last ones of a row or column are filled up with zeros, as published."""
    batch, height, width, channels = x_BhwD.shape
    padded = functional.pad(x_BhwD, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
    rows, columns = padded.shape[1] // WINDOW, padded.shape[2] // WINDOW
    cut = padded.view(batch, rows, WINDOW, columns, WINDOW, channels).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(-1, WINDOW, WINDOW, channels)


def joined(windows_NWWD: Tensor, height: int, width: int) -> Tensor:
    """Map `[B, height, width, D]` of what `windows` has cut."""
    rows, columns = -(-height // WINDOW), -(-width // WINDOW)
    cut = windows_NWWD.view(-1, rows, columns, WINDOW, WINDOW, windows_NWWD.shape[-1]).permute(0, 1, 3, 2, 4, 5)
    return cut.reshape(-1, rows * WINDOW, columns * WINDOW, windows_NWWD.shape[-1])[:, :height, :width]


class Merging(nn.Module):
    """Four neighbouring tokens become one (Swin, arXiv:2103.14030); height and width must be even."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.reduction = nn.Linear(4 * width, width, bias=False)
        self.norm = nn.LayerNorm(4 * width)

    def forward(self, x_BhwD: Tensor) -> Tensor:
        """Tokens `[B, h / 2, w / 2, D]`."""
        upper, lower = x_BhwD[:, 0::2], x_BhwD[:, 1::2]
        four = [upper[:, :, 0::2], lower[:, :, 0::2], upper[:, :, 1::2], lower[:, :, 1::2]]
        merged: Tensor = self.reduction(self.norm(torch.cat(four, dim=-1)))
        return merged


class MapNorm(nn.LayerNorm):
    """LayerNorm over the channels of a map `[B, C, h, w]`."""

    def forward(self, x_BChw: Tensor) -> Tensor:
        """Same shape."""
        return super().forward(x_BChw.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)
