"""Position embeddings of plain vision transformers, for grids of any size."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional


def sincos_positions(grid: tuple[int, int], width: int) -> Tensor:
    """Fixed embeddings of a grid's places and of a class token before them (zeros), `[1, 1 + h * w, width]`.

    A quarter of the width each: sine and cosine of the column, then of the row, in the way of masked autoencoders
    (He et al. 2022, arXiv:2111.06377).
    """
    quarter = width // 4
    frequencies = 10000.0 ** -(torch.arange(quarter, dtype=torch.float64) / quarter)
    rows, columns = torch.meshgrid(*(torch.arange(size, dtype=torch.float64) for size in grid), indexing="ij")
    parts = []
    for places in (columns, rows):
        angles = places.reshape(-1, 1) * frequencies
        parts += [angles.sin(), angles.cos()]
    table = torch.cat(parts, dim=1)
    return torch.cat([torch.zeros(1, width, dtype=table.dtype), table])[None].float()


def resized_positions(table_1ND: Tensor, trained: tuple[int, int], wanted: tuple[int, int]) -> Tensor:
    """Embeddings of a trained grid, interpolated to another one; the class token's (the first) stays as it is.

    At the trained size the table itself.
    """
    if trained == wanted:
        return table_1ND
    width = table_1ND.shape[-1]
    places = table_1ND[:, 1:].reshape(1, *trained, width).permute(0, 3, 1, 2)
    # smoothed where the grid gets coarser, as the models' own authors resize them
    places = functional.interpolate(places, size=wanted, mode="bicubic", antialias=True, align_corners=False)
    return torch.cat([table_1ND[:, :1], places.permute(0, 2, 3, 1).reshape(1, -1, width)], dim=1)


def as_map(tokens_BND: Tensor, grid: tuple[int, int]) -> Tensor:
    """Feature map `[B, D, h, w]` of tokens whose first one is the class token."""
    batch, _, width = tokens_BND.shape
    return tokens_BND[:, 1:].transpose(1, 2).reshape(batch, width, *grid)
