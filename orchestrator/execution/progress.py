"""The one live table of a sweep at work: cells, runs done, best validation score, time left, failures with their log.

Its words, its best score and its rule of the time left are those of `hsfm-sweep status`.
"""

from __future__ import annotations

import threading
import time
from datetime import datetime, timedelta
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.execution.cell_state import CellState
from orchestrator.execution.notebook_area import REDRAW_S, NotebookArea
from orchestrator.execution.remaining import remaining, stage_works
from orchestrator.execution.sweep_state import SweepState
from orchestrator.execution.tallies import STAGES, best_trial, stage_of
from orchestrator.plan.durations import clock, duration

if TYPE_CHECKING:
    from orchestrator.execution.journal import LedgerJournal

PLAIN_INTERVAL_S = 30.0
MOST_FAILURES = 5
MOST_CELLS = 40


class Progress:
    """Redraws on a terminal and in a notebook; prints a line every half minute elsewhere."""

    def __init__(self, state: SweepState, journal: LedgerJournal, console: Console, *, groups: int) -> None:
        self._state, self._journal, self._console, self._groups = state, journal, console, groups
        self._started = time.time()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="progress")
        self._area: NotebookArea | None = None
        self.note = "starting Ray and the worker groups"

    def start(self) -> None:
        if self._console.is_jupyter:
            self._area = NotebookArea(self._render())
        self._thread.start()

    def end(self) -> None:
        self._over.set()
        self._thread.join(5)

    def _run(self) -> None:
        if self._console.is_terminal:
            with Live(self._render(), console=self._console, refresh_per_second=1, transient=True) as live:
                while not self._over.wait(1.0):
                    live.update(self._render())
            return
        if self._area is not None:
            while not self._over.wait(REDRAW_S):
                self._area.update(self._render())
            self._area.update(self._render())
            return
        while not self._over.wait(PLAIN_INTERVAL_S):
            self._console.print(self._line())

    # ---- what is shown

    def _counts(self) -> dict[str, int]:
        with self._state.lock:
            cells = list(self._state.cells.values())
            closed = sum(r.is_closed for c in cells for r in c.slots.values())
            failed = sum(r.state == "failed" for c in cells for r in c.slots.values())
            total = sum(c.planned.runs_total for c in cells)
            return {"closed": closed, "failed": failed, "total": total, "running": len(self._state.in_flight)}

    def eta_s(self) -> float | None:
        """Wall-clock seconds left on all groups; None while nothing was measured."""
        with self._state.lock:
            works = [
                work
                for cell in self._state.cells.values()
                for work in stage_works(cell.planned, self._state.search, cell.slots)
            ]
        left = remaining(works)
        return None if left is None else left.wall_s(self._groups)

    def _line(self) -> str:
        counts, eta_s = self._counts(), self.eta_s()
        parts = [f"runs {counts['closed']}/{counts['total']}", f"{counts['running']} running now"]
        if counts["failed"]:
            parts.append(f"{counts['failed']} failed")
        if eta_s is None:
            parts.append(self.note if not counts["closed"] and not counts["running"] else "no estimate yet")
        else:
            now = datetime.now()
            ends = clock(now + timedelta(seconds=eta_s), now)
            parts.append(f"about {duration(eta_s)} left: done at about {ends}")
        return f"{duration(time.time() - self._started)}  {', '.join(parts)}"

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        metric = self._state.search.metric
        table.add_column("cell")
        table.add_column("state")
        for name in ("search", "final", "now", f"best val {metric}"):
            table.add_column(name, justify="right")
        failures: list[Text] = []
        with self._state.lock:
            cells = list(self._state.cells.values())
            now: dict[str, int] = {}
            for segment in self._state.in_flight.values():
                now[segment.cell_id] = now.get(segment.cell_id, 0) + 1
            busy_first = sorted(cells, key=lambda c: c.cell_id not in now) if len(cells) > MOST_CELLS else cells
            for cell in busy_first[:MOST_CELLS]:
                table.add_row(*self._row(cell, now.get(cell.cell_id, 0)))
            failed = [(c, r) for c in cells for r in c.slots.values() if r.state == "failed"]
            for cell, record in failed[:MOST_FAILURES]:
                log = self._journal.log_path(record.key)
                words = f"failed: {cell.planned.cell} {record.slot}: {record.error[:120]}\n        log: {log}"
                failures.append(Text(words, style="red"))
        if len(cells) > MOST_CELLS:
            failures.append(Text(f"... and {len(cells) - MOST_CELLS} more cells", style="dim"))
        return Group(table, *failures, Text(self._line(), style="dim"))

    def _row(self, cell: CellState, now: int) -> tuple[str, ...]:
        planned, slots = cell.planned, cell.slots
        done = dict.fromkeys(STAGES, 0)
        for name, record in slots.items():
            done[stage_of(name)] += record.state in ("finished", "stopped")
        # its own trials choose for other scenes; shown beside it, a person would choose by them
        best = None if planned.candidates_id else best_trial(slots, self._state.search.metric)
        is_done = done["final"] >= planned.seeds
        state = "running" if now else (("done" if is_done else "failed") if cell.is_closed else "waiting")
        trials = planned.trials * len(planned.folds_used)
        return (
            str(planned.cell),
            state,
            f"{done['search']}/{trials}" if trials else "-",
            f"{done['final']}/{planned.seeds}",
            str(now or ""),
            f"{best[1]:.3f}" if best else "",
        )
