"""How a strategy looks in every figure: colour, marker, line; and the legend."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

Row = Mapping[str, Any]
COLOURS = 12
_SHAPES = {"frozen": "circle", "full": "square", "lora": "triangle", "stem": "diamond"}


@dataclass(frozen=True)
class Look:
    """How a strategy is drawn: colour by architecture, marker by regime, hollow and dashed for random weights."""

    colour: str
    shape: str
    is_hollow: bool


def looks(rows: Sequence[Row]) -> dict[str, Look]:
    """The look of every strategy label; a pretrained one and its controls share a colour."""
    names = list(dict.fromkeys(row["strategy_name"] for row in rows))
    has_pretrained = {row["strategy_name"] for row in rows if row["init"] == "pretrained"}
    return {
        row["strategy"]: Look(
            colour=f"var(--c{names.index(row['strategy_name']) % COLOURS})",
            # with more architectures than colours the shape tells the rest apart
            shape=_SHAPES.get(row["regime"] or "", "square")
            if names.index(row["strategy_name"]) < COLOURS
            else "hourglass",
            is_hollow=row["init"] == "random" and row["strategy_name"] in has_pretrained,
        )
        for row in rows
    }


def marker(x: float, y: float, look: Look, *, size: float = 5.0, opacity: float = 1.0) -> str:
    """One marker, centred on (x, y)."""
    fill = "var(--card)" if look.is_hollow else look.colour
    style = f'fill="{fill}" stroke="{look.colour}" stroke-width="1.6" opacity="{opacity:g}"'
    if look.shape == "circle":
        return f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{size:.1f}" {style}/>'
    corners = {
        "square": ((-0.88, -0.88), (0.88, -0.88), (0.88, 0.88), (-0.88, 0.88)),
        "triangle": ((0.0, -1.15), (1.05, 0.8), (-1.05, 0.8)),
        "hourglass": ((-0.95, -1.0), (0.95, -1.0), (-0.95, 1.0), (0.95, 1.0)),
        "diamond": ((0.0, -1.25), (1.25, 0.0), (0.0, 1.25), (-1.25, 0.0)),
    }[look.shape]
    points = " ".join(f"{x + size * dx:.1f},{y + size * dy:.1f}" for dx, dy in corners)
    return f'<polygon points="{points}" {style}/>'


def line(x1: float, y1: float, x2: float, y2: float, style: str) -> str:
    """One straight line."""
    return f'<line x1="{x1:.1f}" y1="{y1:.1f}" x2="{x2:.1f}" y2="{y2:.1f}" {style}/>'


def text(x: float, y: float, words: str, *, anchor: str = "middle", is_strong: bool = False) -> str:
    """One line of text, escaped."""
    strong = ' class="strong"' if is_strong else ""
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}"{strong}>{escape(words)}</text>'


def plot(width_px: int, height_px: int, label: str, parts: Sequence[str]) -> str:
    """A whole figure that scales with the page; `label` is what a screen reader says."""
    head = f'<svg class="plot" viewBox="0 0 {width_px} {height_px}" role="img" aria-label="{escape(label)}">'
    return f"{head}{''.join(parts)}</svg>"


def legend(rows: Sequence[Row], found: Mapping[str, Look]) -> str:
    """A list of the strategies with their looks."""
    items = []
    for row in {row["strategy"]: row for row in rows}.values():
        look = found[row["strategy"]]
        line = f'<line x1="1" x2="33" y1="7" y2="7" stroke="{look.colour}" stroke-width="1.8"{dash_style(look)}/>'
        swatch = f'<svg viewBox="0 0 34 14" aria-hidden="true">{line}{marker(17, 7, look, size=4.4)}</svg>'
        items.append(f"<li>{swatch}<span>{escape(row['title'])} <small>{escape(row['details'])}</small></span></li>")
    return f'<ul class="legend">{"".join(items)}</ul>'


def dash_style(look: Look) -> str:
    """Attribute that dashes the lines of controls."""
    return ' stroke-dasharray="5 4"' if look.is_hollow else ""


def test_sets(rows: Sequence[Row]) -> list[tuple[str, str | None]]:
    """Data set and split of the rows, in their order, the random split of a data set after its own."""
    found = list(dict.fromkeys((row["dataset"], row["split"]) for row in rows))
    names = list(dict.fromkeys(dataset for dataset, _ in found))
    return sorted(found, key=lambda one: (names.index(one[0]), one[1] == "random"))


def split_badge(split: str | None) -> str:
    """The split behind a heading; a random one is flagged."""
    if split is None:
        return ""
    return (
        '<span class="badge">random split, leaks</span>'
        if split == "random"
        else f"<small>{escape(split)} split</small>"
    )
