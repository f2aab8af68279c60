"""Which cell is asked for its next run: the one with the most left to do, found without looking at the others."""

from __future__ import annotations

import heapq
from collections.abc import Callable, Collection, Hashable

from orchestrator.execution.cell_state import CellState
from orchestrator.plan.planned import PlannedCell


class CellQueue:
    """Cells that may have something to start, most remaining work first, equal ones in the order of the plan.

    An entry is put in whenever its cell has changed; outdated entries are thrown away when they come up. Cells whose
    runs need worker groups of another shape queue apart, so that shapes whose groups are all busy can be passed over.
    """

    def __init__(self) -> None:
        self._shape_of: Callable[[PlannedCell], Hashable] = lambda _: None
        self._heaps: dict[Hashable, list[tuple[float, int]]] = {}
        self._cells: list[CellState] = []
        self._shapes: list[Hashable] = []
        self._numbers: dict[str, int] = {}
        self._entries: dict[int, tuple[float, int]] = {}
        """The entry that counts, by number of its cell; none = it is known to have nothing to start."""

    def regroup(self, shape_of: Callable[[PlannedCell], Hashable]) -> None:
        """From now on the cells queue by what kind of worker group their runs need."""
        self._shape_of = shape_of
        self._shapes = [shape_of(cell.planned) for cell in self._cells]
        self._heaps = {}
        for entry in self._entries.values():
            heapq.heappush(self._heaps.setdefault(self._shapes[entry[1]], []), entry)

    def touch(self, cell: CellState) -> None:
        """The cell has changed: it may have something to start."""
        number = self._numbers.setdefault(cell.cell_id, len(self._cells))
        if number == len(self._cells):
            self._cells.append(cell)
            self._shapes.append(self._shape_of(cell.planned))
        entry = (-cell.remaining_s, number)
        if self._entries.get(number) != entry:
            self._entries[number] = entry
            heapq.heappush(self._heaps.setdefault(self._shapes[number], []), entry)

    def first(self, full: Collection[Hashable] = ()) -> CellState | None:
        """The cell to ask, of no shape that is `full`; None = none of them has anything to start."""
        tops = [top for shape in self._heaps if shape not in full and (top := self._top(shape)) is not None]
        return self._cells[min(tops)[1]] if tops else None

    def drop(self, cell: CellState) -> None:
        """The cell, which `first` gave, has nothing to start until it changes."""
        number = self._numbers[cell.cell_id]
        heapq.heappop(self._heaps[self._shapes[number]])
        del self._entries[number]

    def _top(self, shape: Hashable) -> tuple[float, int] | None:
        heap = self._heaps[shape]
        while heap and self._entries.get(heap[0][1]) != heap[0]:
            heapq.heappop(heap)
        return heap[0] if heap else None
