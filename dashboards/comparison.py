"""One self-contained HTML page from a results table: figures, a sortable table, and where the numbers come from.

Reads the Parquet file only, with what the report concluded in its metadata; it computes no score and no statistic, and
the page loads nothing from anywhere.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import pyarrow as pa
import pyarrow.parquet

from dashboards._benchmark import benchmark_section
from dashboards._curves import label_efficiency
from dashboards._few_shot import few_shot_section
from dashboards._gains import gains
from dashboards._marks import Row, legend, looks, split_badge, test_sets
from dashboards._tables import cells_table, classes_table, shared_table

SCHEMA_VERSION = "1"
_ORIGIN = ("versions", "git_commit", "git_dirty", "dataset", "dataset_digest")
_SETTINGS = {"normalisation_scope": "normalisation from", "selection": "selected on", "device": "device"}


class DashboardError(ValueError):
    """The results file cannot be shown; the text says why and what to do."""


def render(results_parquet: Path, out_html: Path) -> Path:
    """Write the comparison page.

    Args:
        results_parquet: results table with a comparison in its metadata, as `hsfm-sweep report` writes it.
        out_html: file to make.

    Raises:
        DashboardError: no such file, not a results table, or one without a comparison.
    """
    table = _read(results_parquet)
    metadata = table.schema.metadata
    comparison = json.loads(metadata[b"hsfm.comparison"])
    sweep = json.loads(metadata.get(b"hsfm.sweep", b"{}"))
    page = _page(comparison, sweep, _provenance(table))
    out_html.parent.mkdir(parents=True, exist_ok=True)
    unfinished = out_html.with_name(f".{out_html.name}.{os.getpid()}")
    unfinished.write_text(page, encoding="utf-8")
    os.replace(unfinished, out_html)
    return out_html


def _read(path: Path) -> pa.Table:
    if not path.is_file():
        raise DashboardError(f"no results table at {path}; `hsfm-sweep report` writes it")
    try:
        table = pyarrow.parquet.read_table(path, columns=[*_SETTINGS, *_ORIGIN])
    except pa.ArrowException as error:
        raise DashboardError(f"{path} is no Parquet file ({error}); write it with `hsfm-sweep report`") from error
    metadata = table.schema.metadata or {}
    version = metadata.get(b"hsfm.schema_version", b"none").decode()
    if version != SCHEMA_VERSION or b"hsfm.comparison" not in metadata:
        raise DashboardError(
            f"{path} has schema version {version} and {'a' if b'hsfm.comparison' in metadata else 'no'} comparison; "
            f"needed: version {SCHEMA_VERSION} with a comparison; write it again with `hsfm-sweep report`"
        )
    return table


def _page(comparison: Mapping[str, Any], sweep: Mapping[str, Any], provenance: str) -> str:
    rows: Sequence[Row] = comparison["rows"]
    templates = files("dashboards") / "templates"
    page = Template((templates / "page.html").read_text(encoding="utf-8"))
    return page.substitute(
        title=escape(str(sweep.get("name") or "comparison")),
        description=escape(str(sweep.get("description") or "Transfer strategies on hyperspectral data.")),
        facts=_facts(rows, comparison),
        sections=_sections(rows, comparison) if rows else "<section><p>The grid has no cells.</p></section>",
        provenance=provenance,
        style=(templates / "style.css").read_text(encoding="utf-8"),
        script=(templates / "table.js").read_text(encoding="utf-8"),
    )


def _facts(rows: Sequence[Row], comparison: Mapping[str, Any]) -> str:
    complete = sum(row["state"] == "complete" for row in rows)
    facts = (
        ("cells complete", f"{complete} of {len(rows)}"),
        ("strategies", len({row["strategy"] for row in rows})),
        ("data sets", len({row["dataset"] for row in rows})),
        ("label budgets", len({row["label_budget"] for row in rows})),
        ("splits", ", ".join(dict.fromkeys(row["split"] for row in rows if row["split"])) or "–"),
        ("seeds a cell", ", ".join(sorted({str(row["seeds_expected"]) for row in rows})) or "–"),
        ("score", comparison["metric_title"] or "–"),
    )
    return "".join(f"<li>{escape(name)} <b>{escape(str(value))}</b></li>" for name, value in facts)


def _sections(rows: Sequence[Row], comparison: Mapping[str, Any]) -> str:
    found = looks(rows)
    title = comparison["metric_title"]
    complete = [row for row in rows if row["mean"] is not None]
    parts = []
    if complete:
        parts.append(_curves_section(complete, found, title))
    if comparison.get("few_shot"):
        parts.append(few_shot_section(comparison["few_shot"], rows, found, title))
    if comparison.get("benchmark"):
        parts.append(benchmark_section(comparison["benchmark"], rows, found, title))
    if any(row["gain_same_regime"] or row["gain_full"] for row in rows):
        parts.append(_gains_section(rows, found))
    notes = "".join(f"<li>{escape(note)}</li>" for note in comparison["notes"])
    parts.append(
        f'<section><h2>All cells</h2>{cells_table(rows, metric_title=title)}<ul class="notes">{notes}</ul></section>'
    )
    if comparison.get("shared"):
        caption = (
            "Pretrainings and features that several cells build on. Their seconds are spent once and stand in no "
            "cell's own device seconds; a strategy that needs them costs them all the same."
        )
        parts.append(
            f'<section id="shared"><h2>What cells share</h2><p class="caption">{caption}</p>'
            f"{shared_table(comparison['shared'])}</section>"
        )
    if any(row["class_iou"] for row in rows):
        parts.append(_classes_section(rows))
    return "\n".join(parts)


def _curves_section(complete: Sequence[Row], found: Any, title: str) -> str:
    figures = []
    for dataset, split in test_sets(complete):
        same_data = [row for row in complete if row["dataset"] == dataset]
        members = [row for row in same_data if row["split"] == split]
        derived = " <small>labels derived from a model</small>" if members[0]["labels"] == "derived" else ""
        svg = label_efficiency(members, found, metric_title=title, same_axis=same_data)
        figures.append(f"<figure><h3>{escape(dataset)} {split_badge(split)}{derived}</h3>{svg}</figure>")
    has_intervals = any(row["interval"] for row in complete)
    bars = "sample standard deviation"
    if has_intervals:
        bars = "95% bootstrap interval of the mean over seeds (standard deviation below five seeds)"
    caption = (
        f"Test {escape(title)} against the labels that were used, on a logarithmic axis; validation labels count. "
        f"Large marks: mean over seeds; bars: {bars}; small dots: single seeds. Colour: "
        "architecture; shape: what is trained; hollow and dashed: the same architecture from random weights. Marks "
        "of one budget are set apart sideways for legibility. Another split is another test set."
    )
    return (
        f'<section><h2>How scores grow with labels</h2><p class="caption">{caption}</p>'
        f'<div class="figures">{"".join(figures)}{legend(complete, found)}</div></section>'
    )


def _gains_section(rows: Sequence[Row], found: Any) -> str:
    figures = []
    for dataset, split in test_sets(rows):
        members = [
            row
            for row in rows
            if (row["dataset"], row["split"]) == (dataset, split) and (row["gain_same_regime"] or row["gain_full"])
        ]
        if members:
            heading = f"<h3>{escape(dataset)} {split_badge(split)}</h3>"
            figures.append(f"<figure>{heading}{gains(members, found)}</figure>")
    caption = (
        "Score of each pretrained model less that of its control, seed by seed (dots), with mean and sample standard "
        "deviation. Filled: over random weights with the same regime, which is what pretraining gave. Hollow: over "
        "training everything from random weights. Right of zero, pretraining helped. All of them were tuned with the "
        "same budget. Differences of a few seeds are a description, not a test."
    )
    return f'<section><h2>What pretraining gave</h2><p class="caption">{caption}</p>{"".join(figures)}</section>'


def _classes_section(rows: Sequence[Row]) -> str:
    parts = []
    for group in dict.fromkeys((row["dataset"], row["label_budget"], row["split"]) for row in rows):
        members = [
            row for row in rows if (row["dataset"], row["label_budget"], row["split"]) == group and row["class_iou"]
        ]
        if members:
            name = escape(", ".join((group[0], group[1], *([f"{group[2]} split"] if group[2] else []))))
            parts.append(f"<details><summary>{name}</summary>{classes_table(members)}</details>")
    caption = "Test IoU x100 of every class, mean over seeds; a dash is a class without test pixels in the split."
    return f'<section><h2>Class by class</h2><p class="caption">{caption}</p>{"".join(parts)}</section>'


def _provenance(table: pa.Table) -> str:
    """Where the numbers come from: every distinct version, commit, digest and setting among the runs."""
    runs = table.select([*_SETTINGS, *_ORIGIN]).to_pylist()
    entries: list[tuple[str, str]] = []
    for text in dict.fromkeys(run["versions"] for run in runs if run["versions"]):
        entries.append(("versions", _versions(text)))
    for commit, is_dirty in dict.fromkeys((run["git_commit"], run["git_dirty"]) for run in runs if run["git_commit"]):
        entries.append(("git commit", commit + (" with uncommitted changes" if is_dirty else "")))
    for dataset, digest in dict.fromkeys((run["dataset"], run["dataset_digest"]) for run in runs if run["dataset"]):
        entries.append(("data", f"{dataset}, digest {digest or 'unknown'}"))
    for column, name in _SETTINGS.items():
        found = list(dict.fromkeys(run[column] for run in runs if run[column]))
        if found:
            entries.append((name, ", ".join(found)))
    entries.append(("runs", f"{len(runs)}, stopped and failed ones included; results schema {SCHEMA_VERSION}"))
    lines = "".join(f"<dt>{escape(name)}</dt><dd>{escape(value)}</dd>" for name, value in entries)
    return f"<h2>Where the numbers come from</h2><dl>{lines}</dl>"


def _versions(text: str) -> str:
    try:
        found = json.loads(text)
    except json.JSONDecodeError:
        return text
    return ", ".join(f"{name} {version}" for name, version in found.items()) if isinstance(found, dict) else text
