"""The few-shot part of the page: how few labels suffice, and published scores beside ours, never among them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from html import escape
from typing import Any

from dashboards._axes import nice_range, ticks
from dashboards._curves import bar_ends
from dashboards._marks import Look, Row, line, marker, plot, split_badge, test_sets, text

WIDTH, LEFT, RIGHT = 1180, 330, 470
LINE_PX = 20
LONGEST = 48
_PUBLISHED = Look("var(--soft)", "diamond", is_hollow=False)


def few_shot_section(data: Mapping[str, Any], rows: Sequence[Row], found: Mapping[str, Look], title: str) -> str:
    """The whole section; empty where there is neither a curve nor a published score.

    Args:
        data: the few-shot part of the comparison.
        rows: all cells.
        found: the look of every strategy.
        title: the score's name.
    """
    parts = []
    for dataset, split in test_sets(data["efficiency"]):
        members = [entry for entry in data["efficiency"] if (entry["dataset"], entry["split"]) == (dataset, split)]
        parts.append(f"<div><h3>{escape(dataset)} {split_badge(split)}</h3>{_efficiency(members, title)}</div>")
    if parts:
        parts = [f'<div class="figures">{"".join(parts)}</div>']
        caption = (
            "How high a strategy scores over all numbers of labels, and how few labels a class it needs; 95% bootstrap "
            "intervals over seeds."
        )
        parts.insert(0, f'<h2>Label efficiency</h2><p class="caption">{caption}</p>')
    if data["published"]:
        caption = (
            "Published scores with the flags of their protocol. They are in no table of ours, no mean and no choice. "
            "They were made on test pixels drawn at random beside training pixels, unless it says otherwise: our "
            "block split is another, harder test set. Copied: by the source, from the method's own paper. "
            "Transductive: labels were spread over test pixels. Bars: standard deviation over draws; ours: 95% "
            "interval over seeds where there is one."
        )
        parts.append(f'<h2 class="next">Published few-shot scores</h2><p class="caption">{caption}</p>')
        parts += [_panel(panel, rows, found, title) for panel in data["published"]]
    return f'<section id="few-shot">{"".join(parts)}</section>' if parts else ""


def _efficiency(members: Sequence[Mapping[str, Any]], title: str) -> str:
    target = members[0]["target"]
    reach = f"labels a class to {100 * target['score']:.1f}" if target else "labels a class to a score"
    columns = (("strategy", ""), (f"area, {title} x100", "n"), ("95% interval", "n"), (reach, "n"))
    head = "".join(f'<th scope="col"{_class(kind)}>{escape(name)}</th>' for name, kind in columns)
    best = max((entry["area"] or 0.0 for entry in members), default=0.0)
    lines = "".join(
        _efficiency_line(entry, best) for entry in sorted(members, key=lambda entry: -(entry["area"] or 0.0))
    )
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{lines}</tbody></table>"
    words = escape(members[0]["target_words"])
    return f'<div class="scroll">{table}</div><p class="caption below">{words}</p>'


def _efficiency_line(entry: Mapping[str, Any], best: float) -> str:
    name = f"{escape(entry['title'])}<small>{escape(entry['reason'] or entry['details'])}</small>"
    if entry["area"] is None:
        area = '<td class="n">–</td>'
    else:
        width = 100 * max(entry["area"], 0.0) / best if best > 0 else 0.0
        area = f'<td class="n score" style="background-size:{width:.0f}% 3px">{100 * entry["area"]:.1f}</td>'
    ends = [f"{100 * end:.1f}" for end in entry["area_interval"] or ()]
    interval = " to ".join(ends) or "–"
    reach = escape(entry["shots_words"].replace("-", "–"))
    return (
        f'<tr><td class="wide" title="{escape(entry["strategy"])}">{name}</td>{area}'
        f'<td class="n">{interval}</td><td class="n">{reach}</td></tr>'
    )


def _panel(panel: Mapping[str, Any], rows: Sequence[Row], found: Mapping[str, Look], title: str) -> str:
    """One scene and number of labels: our cells by split, then the published scores, one line each."""
    ours = [
        row
        for row in rows
        if (row["dataset"], row["label_budget"]) == (panel["dataset"], panel["label_budget"])
        and row["mean"] is not None
    ]
    groups: list[tuple[str, list[_Line]]] = []
    for _, split in sorted(test_sets(ours), key=lambda one: one[1] not in panel["same_test_pixels"]):
        is_same = split in panel["same_test_pixels"]
        said = "the same kind of test pixels" if is_same else "ANOTHER TEST SET"
        members = sorted((row for row in ours if row["split"] == split), key=lambda row: -row["mean"])
        groups.append((f"ours, {split} split: {said}", [_our_line(row, found[row["strategy"]]) for row in members]))
    kind = {"random": "random test pixels", "contest": "the contest's test pixels"}[panel["test_pixels"]]
    groups.append((f"published, {kind}", [_published_line(entry) for entry in panel["lines"]]))
    shots = panel["labels_per_class"]
    heading = f"{escape(panel['dataset_title'])}, {shots} label{'s' if shots > 1 else ''} a class"
    badge = "" if panel["same_test_pixels"] else ' <span class="badge">other test set</span>'
    label = f"{title} of our cells and published {title} on {panel['dataset_title']}"
    sources = dict.fromkeys(entry["source"] for entry in panel["lines"])
    source = escape(f"From {'; '.join(sources)}.")
    figure = _figure(groups, label, title)
    return f'<figure><h3>{heading}{badge}</h3>{figure}</figure><p class="caption below">{source}</p>'


_Line = tuple[str, float, tuple[float, float], Look, str]
"""Name, value, ends of the bar, look, words to the right."""


def _our_line(row: Row, look: Look) -> _Line:
    details = row["details"].partition(" · ")[2]
    spread = "" if row["spread"] is None else f" ±{100 * row['spread']:.1f}"
    name = ", ".join(part for part in (row["title"], details) if part)
    return name, row["mean"], bar_ends(row), look, f"{100 * row['mean']:.1f}{spread}"


def _published_line(entry: Mapping[str, Any]) -> _Line:
    spread = entry["spread"] or 0.0
    words = f"{100 * entry['value']:.1f}" + (f" ±{100 * spread:.1f}" if spread else "")
    flags = [flag for flag in entry["flags"] if not flag.endswith(" pixels")]
    pretrained = "" if entry["pretrained_on"] == "none" else f", from {entry['pretrained_on']}"
    # a spread can reach beyond what a score can be
    ends = max(entry["value"] - spread, 0.0), min(entry["value"] + spread, 1.0)
    return f"{entry['method']}{pretrained}", entry["value"], ends, _PUBLISHED, " · ".join((words, *flags))


def _figure(groups: Sequence[tuple[str, Sequence[_Line]]], label: str, title: str) -> str:
    values = [100 * end for _, members in groups for one in members for end in (one[1], *one[2])]
    low, high, step = nice_range(min(values), max(values))
    high = min(high, 100.0) if max(values) <= 100 else high
    bottom = LINE_PX * sum(len(members) + 1.4 for _, members in groups)
    left, right = LEFT, WIDTH - RIGHT

    def x(value: float) -> float:
        return left + (right - left) * (100 * value - low) / (high - low)

    parts = []
    for tick in ticks(low, high, step):
        parts.append(line(x(tick / 100), 0, x(tick / 100), bottom, 'class="grid"'))
        parts.append(text(x(tick / 100), bottom + 15, f"{tick:g}"))
    parts.append(text((left + right) / 2, bottom + 31, f"test {title} x100"))
    top = 0.0
    for name, members in groups:
        parts.append(text(0, top + LINE_PX, name, anchor="start", is_strong=True))
        parts += [_drawn(one, top + LINE_PX * (number + 1.9), x) for number, one in enumerate(members)]
        top += LINE_PX * (len(members) + 1.4)
    return plot(WIDTH, round(bottom + 38), label, parts)


def _drawn(one: _Line, centre: float, x: Callable[[float], float]) -> str:
    name, value, (low, high), look, words = one
    short = name if len(name) <= LONGEST else f"{name[: LONGEST - 1]}…"
    bar = line(x(low), centre, x(high), centre, f'stroke="{look.colour}" stroke-width="1.6"')
    named = text(LEFT - 12, centre + 4, short, anchor="end")
    told = text(WIDTH - RIGHT + 14, centre + 4, words, anchor="start")
    return f"<g><title>{escape(f'{name}: {words}')}</title>{named}{bar}{marker(x(value), centre, look)}{told}</g>"


def _class(kind: str) -> str:
    return f' class="{kind}"' if kind else ""
