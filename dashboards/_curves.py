"""Label-efficiency curves as inline SVG. Nothing is computed beyond positions."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from html import escape

from dashboards._axes import nice_range, ticks
from dashboards._marks import Look, Row, dash_style, line, marker, plot, text

WIDTH, HEIGHT = 560, 340
LEFT, RIGHT, TOP, BOTTOM = 52, 16, 14, 58
DODGE_PX = 6.0
CROWDED = 6
"""With more strategies than this in one figure, single seeds stand back behind the means."""

Scale = Callable[[float], float]


def label_efficiency(
    rows: Sequence[Row], found: Mapping[str, Look], *, metric_title: str, same_axis: Sequence[Row] = ()
) -> str:
    """Score against labels of one data set and split: means with bars, every seed as a small mark.

    Budgets of k labels a class stand on a log2 axis of k, others on a logarithmic axis of the labels used. Bars are the
    95% interval where there is one, else the standard deviation.

    Args:
        rows: complete rows of the comparison, one data set and split.
        found: from `looks`.
        metric_title: words for the y axis.
        same_axis: further rows whose scores the y axis has to hold, so that two figures have one scale.
    """
    budgets = _budgets(rows)
    is_few_shot = all(row["budget_kind"] == "k_shot" for row in rows)
    scale_x = _shot_positions(rows) if is_few_shot else _x_positions(budgets)
    low, high, step = _y_range([*rows, *same_axis])

    def y(value: float) -> float:
        return TOP + (HEIGHT - TOP - BOTTOM) * (high - 100 * value) / (high - low)

    words = (
        "labels a class (log2), and labelled pixels used" if is_few_shot else "label budget, and labelled pixels used"
    )
    parts = [_frame(budgets, scale_x, (low, high, step), (words, f"test {metric_title} x100"))]
    strategies = list(dict.fromkeys(row["strategy"] for row in rows))
    dodge_px = _dodge_px(list(scale_x.values()), len(strategies))
    for number, strategy in enumerate(strategies):
        offset = dodge_px * (number - (len(strategies) - 1) / 2)
        look = found[strategy]
        members = sorted(
            (row for row in rows if row["strategy"] == strategy), key=lambda row: scale_x[row["label_budget"]]
        )
        parts += _lines(members, look, scale_x, y, offset)
        is_crowded = len(strategies) > CROWDED
        parts += [_point(row, look, scale_x[row["label_budget"]] + offset, y, is_crowded=is_crowded) for row in members]
    return plot(WIDTH, HEIGHT, f"{metric_title} against labels on {rows[0]['dataset']}", parts)


def _budgets(rows: Sequence[Row]) -> list[tuple[str, float | None]]:
    """Label budgets with the labels they used, from few to many."""
    used: dict[str, list[float]] = {}
    order: dict[str, tuple[str, float]] = {}
    for row in rows:
        order[row["label_budget"]] = (row["budget_kind"] or "", row["budget_value"] or 0.0)
        labels = used.setdefault(row["label_budget"], [])
        if row["labels_train"] is not None:
            labels.append(row["labels_train"] + (row["labels_validation"] or 0.0))
    counts = {budget: sum(labels) / len(labels) if labels else None for budget, labels in used.items()}
    if None in counts.values():
        return [(budget, counts[budget]) for budget in sorted(counts, key=lambda budget: order[budget])]
    return sorted(counts.items(), key=lambda item: item[1] or 0.0)


def _x_positions(budgets: Sequence[tuple[str, float | None]]) -> dict[str, float]:
    """Positions on a logarithmic axis of labels; evenly spaced where the number of labels is unknown."""
    left, right = LEFT + 50, WIDTH - RIGHT - 50
    counts = [count for _, count in budgets]
    if len(budgets) == 1:
        return {budgets[0][0]: (left + right) / 2}
    known = [math.log(count) for count in counts if count]
    if len(known) < len(counts) or max(known) - min(known) < 1e-9:
        return {b: left + (right - left) * i / (len(budgets) - 1) for i, (b, _) in enumerate(budgets)}
    span = max(known) - min(known)
    return {b: left + (right - left) * (math.log(c or 1) - min(known)) / span for b, c in budgets}


def _shot_positions(rows: Sequence[Row]) -> dict[str, float]:
    """Positions on a log2 axis of labels a class: every doubling is equally far."""
    left, right = LEFT + 50, WIDTH - RIGHT - 50
    shots = {row["label_budget"]: math.log2(row["budget_value"]) for row in rows}
    low, high = min(shots.values()), max(shots.values())
    if low == high:
        return dict.fromkeys(shots, (left + right) / 2)
    return {budget: left + (right - left) * (shot - low) / (high - low) for budget, shot in shots.items()}


def _dodge_px(positions: Sequence[float], strategies: int) -> float:
    """How far marks of one budget are set apart, so that neighbouring budgets never mix."""
    ordered = sorted(positions)
    gaps = [right - left for left, right in zip(ordered, ordered[1:], strict=False)]
    return min(DODGE_PX, 0.8 * min(gaps) / strategies) if gaps else DODGE_PX


def _frame(
    budgets: Sequence[tuple[str, float | None]],
    x: Mapping[str, float],
    y_range: tuple[float, float, float],
    words: tuple[str, str],
) -> str:
    bottom, right = HEIGHT - BOTTOM, WIDTH - RIGHT
    low, high, _ = y_range
    parts = []
    for value in ticks(*y_range):
        y = TOP + (bottom - TOP) * (high - value) / (high - low)
        parts.append(line(LEFT, y, right, y, 'class="grid"'))
        parts.append(text(LEFT - 8, y + 4, f"{value:g}", anchor="end"))
    parts.append(line(LEFT, bottom, right, bottom, 'class="axis"'))
    for budget, count in budgets:
        parts.append(line(x[budget], bottom, x[budget], bottom + 5, 'class="axis"'))
        parts.append(text(x[budget], bottom + 19, budget, is_strong=True))
        if count is not None:
            parts.append(text(x[budget], bottom + 34, f"{count:,.0f}"))
    parts.append(text((LEFT + right) / 2, HEIGHT - 6, words[0]))
    turned = text(0, 0, words[1])
    parts.append(f'<g transform="translate(13 {(TOP + bottom) / 2}) rotate(-90)">{turned}</g>')
    return "".join(parts)


def _lines(members: Sequence[Row], look: Look, x: Mapping[str, float], y: Scale, offset: float) -> list[str]:
    """Straight lines between budgets of one kind: a share of the labels and k labels a class are not one curve."""
    parts = []
    for kind in dict.fromkeys(row["budget_kind"] for row in members):
        same = [row for row in members if row["budget_kind"] == kind]
        points = " ".join(f"{x[row['label_budget']] + offset:.1f},{y(row['mean']):.1f}" for row in same)
        style = f'fill="none" stroke="{look.colour}" stroke-width="1.8" opacity="0.8"{dash_style(look)}'
        parts.append(f'<polyline points="{points}" {style}/>')
    return parts


def _point(row: Row, look: Look, x: float, y: Scale, *, is_crowded: bool) -> str:
    parts, words = [], ""
    if row["spread"] is not None:
        low, high = bar_ends(row)
        parts.append(line(x, y(high), x, y(low), f'stroke="{look.colour}" stroke-width="1.6"'))
        words = f" ±{100 * row['spread']:.1f}"
        if row["interval"]:
            words += f", 95% interval {100 * low:.1f} to {100 * high:.1f}"
    seeds = row["values"].values()
    dot = f'r="1.5" fill="{look.colour}" opacity="0.4"' if is_crowded else f'r="2.6" fill="{look.colour}"'
    parts += [f'<circle cx="{x:.1f}" cy="{y(value):.1f}" {dot}/>' for value in seeds]
    parts.append(marker(x, y(row["mean"]), look, size=3.6 if is_crowded else 5.0))
    title = f"{row['strategy']}, {row['label_budget']}: {100 * row['mean']:.1f}{words}, {len(row['values'])} seeds"
    return f"<g><title>{escape(title)}</title>{''.join(parts)}</g>"


def bar_ends(row: Row) -> tuple[float, float]:
    """Ends of the bar through a mean: the interval over seeds, else one standard deviation either way."""
    if row["interval"]:
        low, high = row["interval"]
        return low, high
    spread = row["spread"] or 0.0
    return row["mean"] - spread, row["mean"] + spread


def _y_range(rows: Sequence[Row]) -> tuple[float, float, float]:
    values = [value for row in rows for value in row["values"].values()]
    for row in rows:
        values += bar_ends(row)
    return nice_range(100 * min(values), 100 * max(values))
