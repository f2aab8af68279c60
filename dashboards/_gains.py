"""Differences to the controls as inline SVG, one line a contrast. Nothing is computed beyond positions."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape

from dashboards._axes import nice_range, ticks
from dashboards._marks import Look, Row, line, marker, plot, text

WIDTH, LEFT, RIGHT, PITCH = 1120, 370, 20, 26
_KINDS = (("gain_same_regime", "same regime"), ("gain_full", "full from scratch"))


def gains(rows: Sequence[Row], found: Mapping[str, Look]) -> str:
    """Differences to the controls, paired by seed: every seed, their mean and spread, against zero.

    Args:
        rows: rows of one data set that have a gain over at least one control.
        found: from `looks`.
    """
    entries = [(row, kind, row[key]) for row in rows for key, kind in _KINDS if row[key] and not _is_twin(row, key)]
    values = [100 * v for _, _, gain in entries for v in (*gain["differences"].values(), *_ends(gain))]
    low, high, step = nice_range(min([0.0, *values]), max([0.0, *values]))
    bottom = 4 + PITCH * len(entries)

    def x(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * (100 * value - low) / (high - low)

    parts = []
    for value in ticks(low, high, step):
        parts.append(line(x(value / 100), 4, x(value / 100), bottom, 'class="grid"'))
        parts.append(text(x(value / 100), bottom + 15, f"{value:+g}" if value else "0"))
    parts.append(line(x(0), 4, x(0), bottom, 'class="axis"'))
    parts.append(text((LEFT + WIDTH - RIGHT) / 2, bottom + 31, "points over the control"))
    for number, (row, kind, gain) in enumerate(entries):
        parts.append(_line(row, kind, gain, found[row["strategy"]], 4 + PITCH * (number + 0.5), x))
    return plot(WIDTH, bottom + 38, f"gains over controls on {rows[0]['dataset']}", parts)


def _line(row: Row, kind: str, gain: Row, look: Look, centre: float, x: Callable[[float], float]) -> str:
    drawn = Look(look.colour, look.shape, kind != "same regime")
    low, high = _ends(gain)
    spread = "" if gain["spread"] is None else f" ±{100 * gain['spread']:.1f}"
    number = f"{100 * gain['mean']:+.1f}{spread}, {gain['pairs']} pairs"
    title = f"{row['strategy']}, {row['label_budget']}: {number}, over {gain['control']}"
    words = f"{row['title']} {row['regime'] or ''}, {row['label_budget']}: over {kind}"
    dots = "".join(
        f'<circle cx="{x(value):.1f}" cy="{centre:.1f}" r="2.8" fill="{look.colour}" opacity="0.5"/>'
        for value in gain["differences"].values()
    )
    bar = line(x(low), centre, x(high), centre, f'stroke="{look.colour}" stroke-width="2"')
    name = text(LEFT - 14, centre + 4, words, anchor="end", is_strong=True)
    return f"<g><title>{escape(title)}</title>{name}{bar}{dots}{marker(x(gain['mean']), centre, drawn)}</g>"


def _is_twin(row: Row, key: str) -> bool:
    """For regime `full` both controls are one and the same: it is drawn once."""
    return key == "gain_full" and row["gain_same_regime"] == row["gain_full"]


def _ends(gain: Row) -> tuple[float, float]:
    spread = gain["spread"] or 0.0
    return gain["mean"] - spread, gain["mean"] + spread
