"""The one live table of a sweep: cells x state, runs done, best validation score, ETA, failures with their log."""

from __future__ import annotations

import threading
import time
from typing import TYPE_CHECKING

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from orchestrator.execution.cell_state import SELECTION, CellState
from orchestrator.execution.sweep_state import SweepState

if TYPE_CHECKING:
    from orchestrator.execution.journal import LedgerJournal

PLAIN_INTERVAL_S = 30.0


def _duration(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"


class Progress:
    """Redraws once a second on a terminal; prints a line every half minute elsewhere."""

    def __init__(self, state: SweepState, journal: LedgerJournal, console: Console, *, groups: int) -> None:
        self._state, self._journal, self._console, self._groups = state, journal, console, groups
        self._started = time.time()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True, name="progress")
        self.note = "starting Ray and the worker groups"

    def start(self) -> None:
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
        """Seconds left over all groups: what runs of a cell took, or the plan's guess put right by what others took."""
        with self._state.lock:
            cells = list(self._state.cells.values())
            closed = [[r.seconds for r in c.slots.values() if r.is_closed and r.seconds > 0] for c in cells]
            open_runs = [c.planned.runs_total - sum(r.is_closed for r in c.slots.values()) for c in cells]
        guesses = [c.planned.device_s / max(1, c.planned.runs_total) for c in cells]
        guessed_s = sum(guess * len(taken) for guess, taken in zip(guesses, closed, strict=True))
        if guessed_s <= 0:
            return None
        ratio = sum(map(sum, closed)) / guessed_s
        left_s = 0.0
        for guess, taken, count in zip(guesses, closed, open_runs, strict=True):
            left_s += count * (sum(taken) / len(taken) if taken else guess * ratio)
        return left_s / self._groups

    def _line(self) -> str:
        counts, eta = self._counts(), self.eta_s()
        parts = [f"runs {counts['closed']}/{counts['total']}", f"{counts['running']} in flight"]
        if counts["failed"]:
            parts.append(f"{counts['failed']} failed")
        parts.append(f"about {_duration(eta)} left" if eta is not None else self.note)
        return f"{_duration(time.time() - self._started)}  {', '.join(parts)}"

    def _render(self) -> Group:
        table = Table(box=None, pad_edge=False, header_style="bold")
        for name, align in (
            ("cell", "left"),
            ("state", "left"),
            ("search", "right"),
            ("final", "right"),
            (f"best val {self._state.search.metric}", "right"),
        ):
            table.add_column(name, justify=align)  # type: ignore[arg-type]
        failures: list[Text] = []
        with self._state.lock:
            for cell in self._state.cells.values():
                table.add_row(*self._row(cell))
                for record in cell.slots.values():
                    if record.state == "failed" and len(failures) < 5:
                        log = self._journal.log_path(record.key)
                        failures.append(
                            Text(
                                f"failed: {cell.planned.cell} {record.slot}: {record.error[:120]}\n        log: {log}",
                                style="red",
                            )
                        )
        return Group(table, *failures, Text(self._line(), style="dim"))

    def _row(self, cell: CellState) -> tuple[str, ...]:
        planned, slots = cell.planned, cell.slots
        searched = [r for s, r in slots.items() if s.startswith("search/")]
        finals = [r for s, r in slots.items() if s.startswith("final/")]
        busy = any(s.cell_id == planned.cell_id for s in self._state.in_flight.values())
        scores = [r.scores[SELECTION] for r in searched if SELECTION in r.scores]
        state = "running" if busy else ("closed" if cell.is_closed else "waiting")
        trials = planned.trials * len(planned.folds_used)
        return (
            str(planned.cell),
            state,
            f"{sum(r.is_closed for r in searched)}/{trials}",
            f"{sum(r.is_closed for r in finals)}/{planned.seeds}",
            f"{max(scores):.3f}" if scores else "",
        )
