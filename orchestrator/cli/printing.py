"""How things look in a terminal: tables, durations, sizes, JSON."""

from __future__ import annotations

import json
import sys
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from orchestrator.plan.durations import duration

__all__ = ["Terminal", "console", "duration", "print_json", "show_progress", "styled", "table"]
WIDTH_OF_FILES = 240
"""Columns where the output is no terminal, so that nothing is wrapped at 80."""
STATE_STYLES = {
    "done": "green",
    "running": "cyan",
    "waiting": "",
    "interrupted": "yellow",
    "partial": "yellow",
    "missing": "",
    "blocked": "magenta",
    "failed": "red",
}


class Terminal(Console):
    """A console that leaves a closed pipe to `main`, instead of ending the process with 1."""

    def on_broken_pipe(self) -> None:
        """Whoever read our output has enough, as in `| head`."""
        raise BrokenPipeError


def console() -> Console:
    """A console on standard output."""
    found = Terminal(highlight=False)
    return found if found.is_terminal else Terminal(highlight=False, width=WIDTH_OF_FILES)


def print_json(value: Any) -> None:
    """Print plain data as JSON."""
    click.echo(json.dumps(value, indent=2, allow_nan=False, ensure_ascii=False))


def table(*columns: str, title: str | None = None) -> Table:
    """An empty table; a column that starts with '>' is aligned to the right."""
    made = Table(title=title, title_justify="left", box=None, pad_edge=False, header_style="bold")
    for column in columns:
        made.add_column(
            column.removeprefix(">"), justify="right" if column.startswith(">") else "left", overflow="fold"
        )
    return made


def size(count: float) -> str:
    """Bytes in the unit that reads best: "0 B", "12.3 KiB", "1.5 GiB"."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024:
            return f"{count:.0f} B" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} TiB"


def styled(state: str) -> str:
    """A state in its colour."""
    style = STATE_STYLES.get(state, "")
    return f"[{style}]{state}[/{style}]" if style else state


def show_progress(what: str, done: int, total: int | None) -> None:
    """A counter on standard error that overwrites itself; only in a terminal."""
    if sys.stderr.isatty():
        share = f"{done / total:4.0%}" if total else f"{done / 1e6:.0f} MB"
        click.echo(f"\r{what}: {share}", nl=total is not None and done >= total, err=True)
