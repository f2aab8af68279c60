"""The benchmark's part of the page: gap to RGB pretraining, and published scores drawn beside ours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from dashboards._marks import Row, line, marker, plot, text

WIDTH, LEFT, RIGHT = 1000, 380, 30
LINE_PX = 22
LONGEST = 52


def benchmark_section(data: Mapping[str, Any], rows: Sequence[Row], found: Any, title: str) -> str:
    """The whole section.

    Args:
        data: the benchmark's part of the comparison.
        rows: all cells.
        found: the look of every strategy.
        title: the score's name.
    """
    parts = [_main(data, title)]
    for dataset in dict.fromkeys(entry["dataset"] for entry in data["published"]):
        drawn = [entry for entry in data["published"] if entry["dataset"] == dataset and entry["is_drawn"]]
        members = [row for row in rows if row["dataset"] == dataset and row["mean"] is not None]
        if drawn:
            warning = f" <small>{escape(drawn[0]['warning'])}</small>" if drawn[0]["warning"] else ""
            heading = f"<h3>{escape(dataset)}, protocol {escape(data['protocol'])}{warning}</h3>"
            parts.append(f"<figure>{heading}{_figure(drawn, members, found, title)}</figure>")
    others = [entry for entry in data["published"] if not entry["is_drawn"]]
    if others:
        summary = "<summary>published under another protocol: not drawn</summary>"
        parts.append(f"<details>{summary}{_list(others, title)}</details>")
    if data["compat"]:
        parts.append(_compat(data["compat"]))
    caption = (
        "Best of each transfer by validation, gains paired by seed. Published scores are lines with their protocol; "
        "they are in no table of ours, no mean and no choice."
    )
    return (
        f'<section id="benchmark"><h2>Gap to RGB pretraining</h2><p class="caption">{caption}</p>{"".join(parts)}'
        "</section>"
    )


def _main(data: Mapping[str, Any], title: str) -> str:
    head = ("data set", "labels", "in-domain", "cross-modality", "cross-domain", "gain c-mod", "gain c-dom", "gap left")
    header = "".join(f'<th scope="col">{escape(name)}</th>' for name in (*head, "share closed"))
    lines = []
    for entry in data["main"]:
        warning = f"<small>{escape(entry['warning'])}</small>" if entry["warning"] else ""
        scores = "".join(_side(entry[side]) for side in ("in_domain", "cross_modality", "cross_domain"))
        gains = "".join(_gain(entry[name]) for name in ("gain_cross_modality", "gain_cross_domain", "gap_left"))
        share = "–" if entry["share_closed"] is None else f"{entry['share_closed']:.0%}"
        reason = f"<small>{escape(entry['reason'])}</small>" if entry["reason"] else ""
        lines.append(
            f"<tr><td>{escape(entry['dataset'])}{warning}</td><td>{escape(entry['label_budget'])}</td>{scores}{gains}"
            f'<td class="n wrap">{share}{reason}</td></tr>'
        )
    caption = f"<caption>test {escape(title)} x100, protocol {escape(data['protocol'])}</caption>"
    table = f"<table>{caption}<thead><tr>{header}</tr></thead><tbody>{''.join(lines)}</tbody></table>"
    return f'<div class="scroll">{table}</div>'


def _side(side: Mapping[str, Any]) -> str:
    if side["mean"] is None:
        return '<td class="n">–</td>'
    return f'<td class="n wrap">{100 * side["mean"]:.1f}<small>{escape(side["strategy"])}</small></td>'


def _gain(gain: Mapping[str, Any] | None) -> str:
    if gain is None:
        return '<td class="n">–</td>'
    spread = "" if gain["spread"] is None else f" ±{100 * gain['spread']:.1f}"
    return f'<td class="n">{100 * gain["mean"]:+.1f}{spread}</td>'


def _figure(drawn: Sequence[Mapping[str, Any]], members: Sequence[Row], found: Any, title: str) -> str:
    """Ours as marks, one line a cell; published scores as dashed lines through all of them, named below."""
    height = LINE_PX * (len(members) + len(drawn) + 3)
    top = LINE_PX * (len(members) + 1)
    parts = [line(LEFT, top, WIDTH - RIGHT, top, 'class="axis"')]

    def at(value: float) -> float:
        return LEFT + (WIDTH - LEFT - RIGHT) * min(max(value, 0.0), 1.0)

    for number, row in enumerate(members):
        y = LINE_PX * (number + 0.7)
        name = ", ".join(
            part for part in (row["title"], row["details"].partition(" · ")[2], row["label_budget"]) if part
        )
        parts.append(text(LEFT - 8, y + 4, name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…", anchor="end"))
        parts.append(marker(at(row["mean"]), y, found[row["strategy"]]))
    for tick in range(0, 101, 20):
        parts.append(text(at(tick / 100), top + 16, str(tick)))
    # by rising value: a line ends above the names to its right
    for number, entry in enumerate(sorted(drawn, key=lambda one: one["value"])):
        x, y = at(entry["value"]), top + LINE_PX * (number + 2)
        dashes = 'stroke="currentColor" stroke-width="1" stroke-dasharray="3 3" opacity="0.6"'
        parts.append(line(x, 0, x, y - 10, dashes))
        words = f"{entry['label']} {100 * entry['value']:.1f} ({entry['protocol']})"
        parts.append(text(x - 4, y, words, anchor="end"))
    return plot(WIDTH, height, f"{title} of our cells, and published scores as lines", parts)


def _list(entries: Sequence[Mapping[str, Any]], title: str) -> str:
    lines = "".join(
        f"<li>{escape(entry['dataset'])}: {escape(entry['label'])}, {escape(title)} {100 * entry['value']:.2f}, "
        f"protocol {escape(entry['protocol'])}{_told(entry['note'])}{_told(entry['warning'])}</li>"
        for entry in entries
    )
    return f'<ul class="notes">{lines}</ul>'


def _told(words: str) -> str:
    return f" ({escape(words)})" if words else ""


def _compat(entries: Sequence[Mapping[str, Any]]) -> str:
    names = {"oa": "OA", "aa": "AA", "mean_f1": "mean F1", "miou": "mIoU"}
    header = "".join(f'<th scope="col">{name}</th>' for name in ("strategy", "data set", "labels", *names.values()))
    lines = "".join(
        f"<tr><td>{escape(entry['strategy'])}</td><td>{escape(entry['dataset'])}</td>"
        f"<td>{escape(entry['label_budget'])}</td>"
        + "".join(f'<td class="n">{100 * entry["own"][n]:.1f} / {100 * entry["compat"][n]:.1f}</td>' for n in names)
        + "</tr>"
        for entry in entries
    )
    caption = "<caption>where the papers' convention differs: scored classes only / papers, x100</caption>"
    table = f"<table>{caption}<thead><tr>{header}</tr></thead><tbody>{lines}</tbody></table>"
    return f'<div class="scroll">{table}</div>'
