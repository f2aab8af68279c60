"""The comparison for a terminal: one rich table and the notes that keep its numbers honest."""

from __future__ import annotations

from collections.abc import Sequence

from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.rows import ComparisonRow, Gain
from orchestrator.analysis.shared_stages import SharedStage
from orchestrator.analysis.wording import metric_title, number, short_count, strategy_words, verdict_mark

_STATE_STYLES = {"incomplete": "yellow", "failed": "red", "blocked": "magenta"}


def comparison_table(rows: Sequence[ComparisonRow]) -> Table:
    """One table, legible from 80 columns on: strategy x data set x label budget with score, gains, leakage and cost."""
    metric = metric_title(rows[0].metric) if rows else "score"
    has_regions = any(row.oa_border is not None for row in rows)
    table = Table(
        title=f"test {metric} by data set, label budget and strategy",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        header_style="bold",
    )
    table.add_column("strategy\nfamily, what is fixed", overflow="fold", min_width=20)
    table.add_column(f"{metric} x100\nseeds", justify="right", no_wrap=True)
    table.add_column("gain init\ngain full", justify="right", no_wrap=True)
    table.add_column("transfer\nleakage", no_wrap=True)
    shared = "\n+ shared" if any(row.shared_s for row in rows) else ""
    table.add_column(f"trained\ndevice s{shared}", justify="right", no_wrap=True)
    if has_regions:
        table.add_column("OA border\ninterior", justify="right", no_wrap=True)
    for group in dict.fromkeys(row.group for row in rows):
        members = [row for row in rows if row.group == group]
        table.add_section()
        table.add_row(*_heading(members[0]))
        for row in members:
            table.add_row(*_cells(row), *([_regions(row)] if has_regions else []))
    return table


def shared_table(stages: Sequence[SharedStage]) -> Table:
    """What cells share, each stage's device seconds once."""
    table = Table(title="shared by cells", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column("stage", overflow="fold")
    for name in ("runs", "device s", "cells"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in stages:
        cells = "-" if stage.cells is None else str(stage.cells)
        table.add_row(Text(f"{stage.name}, {stage.dataset}"), str(stage.runs), f"{stage.device_s:,.0f}", cells)
    return table


def comparison_notes(notes: Sequence[str]) -> Text:
    """What the table's numbers mean and do not mean, one sentence a line."""
    return Text("\n".join(notes), style="dim")


def _heading(row: ComparisonRow) -> tuple[Text, ...]:
    """Data set, label budget and split, each above the column that has room for it."""
    labels = row.labels if row.labels in ("derived", "generated") else ""
    leaks = ", leaks" if row.split == "random" else ""
    words = (row.dataset, row.label_budget, labels, f"{row.split} split{leaks}" if row.split else "", "")
    return tuple(Text(word, style="bold cyan") for word in words)


def _cells(row: ComparisonRow) -> tuple[Text, ...]:
    title, details = strategy_words(row)
    if row.mean is None:
        score = Text(row.state, style=_STATE_STYLES.get(row.state, ""))
    else:
        score = Text(number(row.mean, row.spread))
    name = Text(f"{title} *" if row.chosen else title, style="bold" if row.chosen else "")
    seconds = f"{sum(row.device_s.values()):.0f}" if row.device_s else "-"
    seconds += f" + {sum(row.shared_s.values()):.0f}" if row.shared_s else ""
    return (
        name.append(f"\n  {details}", style="dim"),
        score.append(f"\n{len(row.values)}/{row.seeds_expected}", style="dim"),
        Text(f"{_gain(row.gain_same_regime)}\n{_gain(row.gain_full)}"),
        Text(f"{row.transfer or '-'}\n").append(row.leakage or "-", style="dim"),
        Text(f"{short_count(row.parameters_trained)}\n").append(seconds, style="dim"),
    )


def _regions(row: ComparisonRow) -> Text:
    both = ("-" if value is None else number(value, None) for value in (row.oa_border, row.oa_interior))
    return Text("\n".join(both))


def _gain(gain: Gain | None) -> str:
    return "-" if gain is None else f"{number(gain.mean, gain.spread, sign='+')}{verdict_mark(gain)}"
