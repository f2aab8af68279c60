"""The few-shot part of a report, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.wording import metric_title, number


def few_shot_parts(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Label efficiency by data set and split, then what was published on the same scenes with as many labels.

    Args:
        data: from `few_shot.few_shot_data`.
    """
    title = metric_title(data["metric"])
    scenes = dict.fromkeys((entry["dataset"], entry["split"]) for entry in data["efficiency"])
    for dataset, split in scenes:
        members = [entry for entry in data["efficiency"] if (entry["dataset"], entry["split"]) == (dataset, split)]
        yield _efficiency(members, title)
        yield Text(members[0]["target_words"], style="dim")
    for panel in data["published"]:
        yield from _published(panel, title)


def _efficiency(members: Sequence[Mapping[str, Any]], title: str) -> Table:
    first = members[0]
    shown = _table(f"label efficiency on {first['dataset']}, {first['split']} split, test {title} x100")
    shown.add_column("strategy\nfamily, what is fixed", overflow="fold", min_width=20)
    reach = f"labels a class\nto reach {100 * first['target']['score']:.1f}" if first["target"] else "labels to reach"
    for words in ("area\n95% interval", reach):
        shown.add_column(words, justify="right", no_wrap=True)
    # best first, curves with a gap last
    for entry in sorted(members, key=lambda one: -(one["area"] or 0.0)):
        ends = [f"{100 * end:.1f}" for end in entry["area_interval"] or ()]
        interval = f"\n{' to '.join(ends)}" if ends else ""
        area = "-" if entry["area"] is None else number(entry["area"], None)
        name = Text(entry["title"]).append(f"\n  {entry['reason'] or entry['details']}", style="dim")
        shown.add_row(name, f"{area}{interval}", entry["shots_words"])
    return shown


def _published(panel: Mapping[str, Any], title: str) -> Iterator[RenderableType]:
    shots = panel["labels_per_class"]
    # a heading of its own: as the title of so narrow a table it would be broken over several lines
    yield Text(
        f"published {title} x100 on {panel['dataset_title']}, {shots} label{'s' if shots > 1 else ''} a class: "
        f"{panel['beside']}",
        style="italic",
    )
    shown = _table("")
    shown.add_column("method", overflow="fold")
    shown.add_column(title, justify="right", no_wrap=True)
    shown.add_column("pretrained on", overflow="fold")
    shown.add_column("protocol", overflow="fold")
    for line in panel["lines"]:
        told = ", ".join(line["flags"])
        shown.add_row(line["method"], number(line["value"], line["spread"]), line["pretrained_on"], told)
    yield shown
    sources = "; ".join(dict.fromkeys(line["source"] for line in panel["lines"]))
    yield Text(f"published scores are in none of our tables, means and choices; from {sources}", style="dim")


def _table(title: str) -> Table:
    return Table(title=title or None, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
