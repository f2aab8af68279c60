"""Cuts a scene into blocks and deals them to train, validation and test, with a buffer between the sides.

The dealing is a property of the data set: it is made once, when the data set is prepared, from the labels and a
stream seeded by the data set's name, so that every strategy and every seed meets the same sides.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets._base import NO_SIDE, BlockRule
from orchestrator.errors import ConfigError

GRIDS_TRIED = 8
STEPS_PER_BLOCK = 60
STEPS_AT_MOST = 12_000
MISSING_CLASS_COST = np.array([8.0, 3.0, 8.0])
"""Cost of a class without a pixel on the train, validation or test side; far above any imbalance."""
SCARCE_SHARE = 0.25
"""A class with less than this part of its aim on a side counts as scarce there, and costs towards missing."""
NEIGHBOURS = ((-1, -1), (-1, 0), (-1, 1), (0, -1), (0, 1), (1, -1), (1, 0), (1, 1))


@dataclass(frozen=True, kw_only=True)
class BlockLayout:
    """Blocks of a scene and the side that each is on."""

    buffer_px: int
    row_edges: tuple[int, ...]
    """First row of each row of blocks, and the height of the scene."""
    column_edges: tuple[int, ...]
    sides: tuple[int, ...]
    """0 train, 1 validation, 2 test; one a block, row by row."""

    @property
    def grid(self) -> tuple[int, int]:
        return len(self.row_edges) - 1, len(self.column_edges) - 1

    @property
    def margin_px(self) -> int:
        """Pixels that a block gives up along a border to another side; both blocks give up as many."""
        return -(-self.buffer_px // 2)

    @cached_property
    def block_map(self) -> NDArray[np.int32]:
        """[H, W] index of the block of each pixel, row by row."""
        rows, columns = (_lookup(edges) for edges in (self.row_edges, self.column_edges))
        return (rows[:, None] * self.grid[1] + columns[None, :]).astype(np.int32)

    @cached_property
    def side_map(self) -> NDArray[np.int8]:
        """[H, W] side of each pixel, -1 in the buffer."""
        sides = np.array(self.sides, dtype=np.int8)
        kept_BZ = _kept_zones(_differs(sides, _neighbours(self.grid)))
        zone_HW = _zone_map(self.row_edges, self.column_edges, self.margin_px)
        return np.where(kept_BZ[self.block_map, zone_HW], sides[self.block_map], np.int8(NO_SIDE))

    def names(self) -> tuple[str, ...]:
        return tuple(f"block_{row:02d}_{column:02d}" for row in range(self.grid[0]) for column in range(self.grid[1]))

    def to_json(self) -> dict[str, Any]:
        return {
            "buffer_px": self.buffer_px,
            "row_edges": list(self.row_edges),
            "column_edges": list(self.column_edges),
            "sides": list(self.sides),
        }

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> BlockLayout:
        row_edges, column_edges, sides = (tuple(data[key]) for key in ("row_edges", "column_edges", "sides"))
        return cls(buffer_px=data["buffer_px"], row_edges=row_edges, column_edges=column_edges, sides=sides)


def default_rule(height: int, width: int) -> BlockRule:
    """Blocks of a sixteenth of the longer side, at least 8 pixels, with a buffer of 4 pixels."""
    return BlockRule(side_px=max(8, -(-max(height, width) // 16)), buffer_px=4)


def deal_blocks(
    labels_HW: NDArray[np.int16], num_classes: int, rule: BlockRule, generator: np.random.Generator
) -> BlockLayout:
    """Deal the blocks so that every class has pixels on every side where its geometry permits.

    Several grids are tried, each shifted by some pixels; on each an annealed search moves blocks between the sides.
    What is scored are the pixels that remain after the buffer was taken off.

    Raises:
        ConfigError: the buffer does not fit the blocks, or the scene holds too few blocks for three sides.
    """
    height, width = labels_HW.shape
    if rule.buffer_px < 0 or rule.side_px < max(2, 2 * rule.buffer_px):
        raise ConfigError(
            f"blocks of {rule.side_px} px with a buffer of {rule.buffer_px} px; allowed: a side of at least 2 px and "
            "twice the buffer; enlarge block_side_px or reduce block_buffer_px"
        )
    best: tuple[float, BlockLayout] | None = None
    for _ in range(GRIDS_TRIED):
        shift_rows, shift_columns = (int(generator.random() * rule.side_px) for _ in range(2))
        row_edges, column_edges = _edges(height, rule.side_px, shift_rows), _edges(width, rule.side_px, shift_columns)
        if (len(row_edges) - 1) * (len(column_edges) - 1) < 3:
            raise ConfigError(
                f"a scene of {height} x {width} px gives fewer than 3 blocks of {rule.side_px} px; "
                "reduce block_side_px or use split: random"
            )
        counts_BZK = _zone_counts(labels_HW, row_edges, column_edges, -(-rule.buffer_px // 2), num_classes)
        sides, cost = _search(counts_BZK, (len(row_edges) - 1, len(column_edges) - 1), rule, generator)
        layout = BlockLayout(
            buffer_px=rule.buffer_px, row_edges=row_edges, column_edges=column_edges, sides=tuple(sides.tolist())
        )
        if best is None or cost < best[0]:
            best = (cost, layout)
    assert best is not None
    return best[1]


def _edges(length: int, side: int, shift: int) -> tuple[int, ...]:
    """Borders of blocks along one axis; a remainder below half a side joins its neighbour."""
    inner = [edge for edge in range(shift, length, side) if edge >= side / 2 and length - edge >= side / 2]
    return (0, *inner, length)


def _lookup(edges: tuple[int, ...]) -> NDArray[np.int64]:
    return np.repeat(np.arange(len(edges) - 1), np.diff(edges))


def _zone_map(row_edges: tuple[int, ...], column_edges: tuple[int, ...], margin: int) -> NDArray[np.int64]:
    """[H, W] part of the block that a pixel lies in: 0..8, row by row; 4 is the middle."""

    def parts(edges: tuple[int, ...]) -> NDArray[np.int64]:
        part = np.ones(edges[-1], dtype=np.int64)
        for first, end in zip(edges[:-1], edges[1:], strict=True):
            part[first : first + margin] = 0
            part[end - margin : end] = 2
        return part

    return parts(row_edges)[:, None] * 3 + parts(column_edges)[None, :]


def _zone_counts(
    labels_HW: NDArray[np.int16], row_edges: tuple[int, ...], column_edges: tuple[int, ...], margin: int, classes: int
) -> NDArray[np.float64]:
    """[blocks, 9, classes] labelled pixels of each part of each block."""
    blocks = (len(row_edges) - 1) * (len(column_edges) - 1)
    block_HW = _lookup(row_edges)[:, None] * (len(column_edges) - 1) + _lookup(column_edges)[None, :]
    labelled = labels_HW >= 0
    index = (block_HW * 9 + _zone_map(row_edges, column_edges, margin))[labelled] * classes + labels_HW[labelled]
    return np.bincount(index, minlength=blocks * 9 * classes).reshape(blocks, 9, classes).astype(np.float64)


def _neighbours(grid: tuple[int, int]) -> NDArray[np.int64]:
    """[blocks, 8] index of the neighbours; a block is its own neighbour beyond the border of the scene."""
    rows, columns = np.divmod(np.arange(grid[0] * grid[1]), grid[1])
    result = np.empty((rows.size, 8), dtype=np.int64)
    for position, (down, right) in enumerate(NEIGHBOURS):
        row, column = rows + down, columns + right
        inside = (row >= 0) & (row < grid[0]) & (column >= 0) & (column < grid[1])
        result[:, position] = np.where(inside, row * grid[1] + column, np.arange(rows.size))
    return result


def _differs(sides: NDArray[np.int8], neighbours_B8: NDArray[np.int64]) -> NDArray[np.bool_]:
    return np.not_equal(sides[neighbours_B8], sides[:, None])


def _kept_zones(differs_B8: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """[blocks, 9]: which parts of a block stay on its side, given which of its neighbours are on another."""
    nw, n, ne, w, e, sw, s, se = differs_B8.T
    inner = np.zeros_like(n)
    lost = (nw | n | w, n, ne | n | e, w, inner, e, sw | s | w, s, se | s | e)
    return ~np.stack(lost, axis=1)


def _cost(counts_BZK: NDArray[np.float64], sides: NDArray[np.int8], neighbours: NDArray[np.int64], aim: Any) -> float:
    kept_BZ = _kept_zones(_differs(sides, neighbours))
    kept_BK = np.einsum("bz,bzk->bk", kept_BZ, counts_BZK)
    kept_SK = np.equal.outer(np.arange(3), sides) @ kept_BK
    share_SK = kept_SK / aim["totals"]
    per_class = ((share_SK - aim["shares"]) ** 2).sum(axis=0).mean()
    overall = ((kept_SK.sum(axis=1) / aim["total"] - aim["shares"][:, 0]) ** 2).sum()
    scarcity = np.clip(1 - share_SK / (SCARCE_SHARE * aim["shares"]), 0, 1) ** 2 + (kept_SK == 0)
    # Rounded, so that the last bit, which depends on the CPU's way of adding, never decides between two layouts.
    return round(float(per_class + 4 * overall + scarcity.sum(axis=1) @ MISSING_CLASS_COST), 9)


def _search(
    counts_BZK: NDArray[np.float64], grid: tuple[int, int], rule: BlockRule, generator: np.random.Generator
) -> tuple[NDArray[np.int8], float]:
    """Simulated annealing over the side of each block."""
    present = counts_BZK.sum(axis=(0, 1)) > 0
    counts_BZK = counts_BZK[:, :, present]
    totals = counts_BZK.sum(axis=(0, 1))
    aim = {"totals": totals, "total": max(totals.sum(), 1.0), "shares": np.array(rule.shares)[:, None]}
    neighbours, blocks = _neighbours(grid), counts_BZK.shape[0]
    drawn = np.searchsorted(np.cumsum(rule.shares)[:2], generator.random(blocks))
    sides: NDArray[np.int8] = np.asarray(drawn, dtype=np.int8)
    cost = _cost(counts_BZK, sides, neighbours, aim)
    best, best_cost = sides.copy(), cost
    steps = min(STEPS_AT_MOST, STEPS_PER_BLOCK * blocks)
    draws = generator.random((steps, 4))
    for step, (where, towards, kind, luck) in enumerate(draws):
        block = int(where * blocks)
        moved = sides.copy()
        # Half of the moves copy a neighbour's side: connected sides lose fewer pixels to the buffer.
        moved[block] = sides[neighbours[block, int(towards * 8)]] if kind < 0.5 else int(towards * 3)
        if moved[block] == sides[block]:
            continue
        moved_cost = _cost(counts_BZK, moved, neighbours, aim)
        temperature = 0.05 * (1 - step / steps) ** 2 + 1e-9
        if moved_cost <= cost or luck < np.exp((cost - moved_cost) / temperature):
            sides, cost = moved, moved_cost
            if cost < best_cost:
                best, best_cost = sides.copy(), cost
    return best, best_cost
