"""The benchmark's part of a report, for the terminal."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich import box
from rich.console import RenderableType
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.benchmark import WORDS
from orchestrator.analysis.wording import metric_title, number

PARTS = ("oa", "aa", "mean_f1", "miou")


def benchmark_parts(data: Mapping[str, Any]) -> Iterator[RenderableType]:
    """Main table, published lines and, where they differ, scores by the papers' convention.

    Args:
        data: from `benchmark.benchmark_data`.
    """
    title = metric_title(data["metric"])
    yield _main(data, title)
    yield Text(
        "best of each transfer by validation; gains paired by seed, in points; share closed: the part of "
        "cross-modality's gain over in-domain that cross-domain reaches.",
        style="dim",
    )
    if data["published"]:
        yield _published(data, title)
    if data["compat"]:
        yield _compat(data)


def _main(data: Mapping[str, Any], title: str) -> Table:
    shown = _table(f"gap to RGB pretraining, test {title} x100, protocol {data['protocol']}")
    shown.add_column("data set\nlabels", overflow="fold")
    for words in WORDS.values():
        shown.add_column(words, justify="right")
    for words in ("gain c-mod", "gain c-dom", "gap left", "share"):
        shown.add_column(words, justify="right", no_wrap=True)
    for line in data["main"]:
        warning = f"\n{line['warning']}" if line["warning"] else ""
        scores = ["-" if line[side]["mean"] is None else number(line[side]["mean"], None) for side in WORDS]
        gains = [_gain(line[name]) for name in ("gain_cross_modality", "gain_cross_domain", "gap_left")]
        share = "-" if line["share_closed"] is None else f"{line['share_closed']:.0%}"
        shown.add_row(Text(f"{line['dataset']}\n{line['label_budget']}{warning}"), *scores, *gains, share)
        if line["reason"]:
            shown.add_row(Text(f"  {line['reason']}", style="dim"), *[""] * 7)
    return shown


def _published(data: Mapping[str, Any], title: str) -> Table:
    shown = _table(f"published {title} x100, beside our results and in none of them")
    for words, side in (("data set", "left"), ("method", "left"), (title, "right"), ("protocol", "left")):
        shown.add_column(words, justify=side, overflow="fold")  # type: ignore[arg-type]
    for line in data["published"]:
        protocol = line["protocol"] if line["is_drawn"] else f"{line['protocol']}: another protocol"
        told = "; ".join(part for part in (protocol, line["note"], line["warning"]) if part)
        shown.add_row(line["dataset"], line["label"], f"{100 * line['value']:.2f}", told)
    return shown


def _compat(data: Mapping[str, Any]) -> Table:
    shown = _table("test scores x100 where the papers' convention differs: scored classes only / papers")
    shown.add_column("strategy", overflow="fold")
    shown.add_column("data set\nlabels", overflow="fold")
    for name in PARTS:
        shown.add_column(metric_title(name), justify="right", no_wrap=True)
    for line in data["compat"]:
        scores = [f"{100 * line['own'][name]:.1f} / {100 * line['compat'][name]:.1f}" for name in PARTS]
        shown.add_row(Text(line["strategy"]), Text(f"{line['dataset']}\n{line['label_budget']}"), *scores)
    return shown


def _gain(gain: Mapping[str, Any] | None) -> str:
    return "-" if gain is None else number(gain["mean"], gain["spread"], sign="+")


def _table(title: str) -> Table:
    return Table(title=title, box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
