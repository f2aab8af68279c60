"""Which cell is asked for its next run: the one with the most left to do, found without looking at the others."""

from __future__ import annotations

import heapq

from orchestrator.execution.cell_state import CellState


class CellQueue:
    """Cells that may have something to start, most remaining work first, equal ones in the order of the plan.

    An entry is put in whenever its cell has changed; outdated entries are thrown away when they come up.
    """

    def __init__(self) -> None:
        self._heap: list[tuple[float, int]] = []
        self._cells: list[CellState] = []
        self._numbers: dict[str, int] = {}
        self._entries: dict[int, tuple[float, int]] = {}
        """The entry that counts, by number of its cell; none = it is known to have nothing to start."""

    def touch(self, cell: CellState) -> None:
        """The cell has changed: it may have something to start."""
        number = self._numbers.setdefault(cell.cell_id, len(self._cells))
        if number == len(self._cells):
            self._cells.append(cell)
        entry = (-cell.remaining_s, number)
        if self._entries.get(number) != entry:
            self._entries[number] = entry
            heapq.heappush(self._heap, entry)

    def first(self) -> CellState | None:
        """The cell to ask; None = no cell has anything to start."""
        while self._heap:
            entry = self._heap[0]
            if self._entries.get(entry[1]) == entry:
                return self._cells[entry[1]]
            heapq.heappop(self._heap)
        return None

    def drop_first(self) -> None:
        """The first cell has nothing to start until it changes."""
        _, number = heapq.heappop(self._heap)
        del self._entries[number]
