"""The published table of HS3-Bench, read from its packaged file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

from orchestrator.config import list_protocols
from orchestrator.errors import unknown

TABLE = resources.files("orchestrator") / "reference" / "hs3bench.yaml"
METRICS = ("oa", "aa", "mean_f1", "miou")
"""Scores of the published tables, by the tool's names, in their order."""
GENERATED = "generated data: not comparable"
"""What stands beside every published number where our side was made on generated data."""


@dataclass(frozen=True, kw_only=True)
class Source:
    """Where published numbers stand."""

    name: str
    title: str
    address: str
    """Empty where none is known."""
    paper: str
    protocol: str
    year: int | None
    seeds: int | None


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """One line of a published table."""

    name: str
    """DATASET/METHOD/INPUT, with /SUFFIX for other sources than the paper's own table."""
    dataset: str
    """The tool's name of the data set, its split included; "mean" for a mean over all three."""
    family: str
    """The data set whatever its split."""
    dataset_title: str
    method: str
    input: str
    values: Mapping[str, float]
    """Score by name, in hundredths as printed; what is not published is absent."""
    source: Source
    inconsistent: str = ""
    """Where the source contradicts itself."""
    note: str = ""
    """What differs here when the row is trained again."""
    reason: str = ""
    """Why it cannot be trained here; empty where it can."""
    strategy: Mapping[str, Any]
    """The strategy's entry in a grid; empty where it cannot be trained here."""
    train: Mapping[str, Any]
    """Training settings beside the protocol's."""

    @property
    def label(self) -> str:
        """Method and input, as figures name it."""
        return f"{self.method}, {self.input}"


def find_row(name: str) -> PublishedRow:
    """The row of that name.

    Raises:
        ConfigError: there is none.
    """
    rows = {row.name: row for row in published_rows()}
    if name not in rows:
        raise unknown("row", name, tuple(rows), hint="See `hsfm-sweep reproduce --list`.")
    return rows[name]


def reference_lines(dataset: str, protocol: str) -> list[PublishedRow]:
    """What was published on a data set under exactly this protocol."""
    return [row for row in published_rows() if (row.dataset, row.source.protocol) == (dataset, protocol)]


def benchmark_protocols() -> frozenset[str]:
    """The packaged protocols under which something was published."""
    return frozenset(row.source.protocol for row in published_rows()) & set(list_protocols())


def family_of(dataset: str) -> str:
    """The data set whatever its split; a data set on which nothing was published is its own family."""
    return next((row.family for row in published_rows() if row.dataset == dataset), dataset)


@functools.cache
def published_rows() -> tuple[PublishedRow, ...]:
    """Every published row, in the order of the file."""
    table = yaml.safe_load(TABLE.read_text("utf-8"))
    return tuple(_row(table, source, given) for source in table["rows"] for given in table["rows"][source])


def _row(table: Mapping[str, Any], source_name: str, given: Mapping[str, Any]) -> PublishedRow:
    source = table["sources"][source_name]
    dataset, method = table["datasets"][given["dataset"]], table["methods"][given["method"]]
    shown = table["inputs"][given["input"]]
    parts = [given["dataset"], given["method"], given["input"], *([source["suffix"]] if "suffix" in source else [])]
    reasons = [part["reason"] for part in (source, dataset, method, shown) if part.get("reason")]
    reason = reasons[0] if reasons else ""
    return PublishedRow(
        name="/".join(parts),
        dataset=dataset.get("data", given["dataset"]) if source["protocol"] == "hs3-2024" else given["dataset"],
        family=given["dataset"],
        dataset_title=dataset["title"],
        method=method["title"],
        input=shown["title"],
        values={name: float(given[name]) for name in METRICS if name in given},
        source=Source(
            name=source_name,
            **{name: source[name] for name in ("title", "address", "paper", "protocol", "year", "seeds")},
        ),
        inconsistent=given.get("inconsistent", ""),
        note="" if reason else shown.get("note", ""),
        reason=reason,
        strategy={} if reason else _entry(dataset, method, shown, given["input"]),
        train={} if reason else {**dataset.get("train", {}), **method.get("train", {})},
    )


def _entry(
    dataset: Mapping[str, Any], method: Mapping[str, Any], shown: Mapping[str, Any], shown_name: str
) -> dict[str, Any]:
    entry = {"name": method["strategy"], "learning_rate": 0.001, **method.get("fields", {})}
    if method.get("has_input", True):
        entry |= shown.get("fields", {})
    if shown_name == "prgb":
        entry["rgb_bands"] = dataset["rgb_bands"]
    return entry
