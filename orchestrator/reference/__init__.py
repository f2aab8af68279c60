"""Published numbers as data, with their sources: to stand beside results, never among them."""

from __future__ import annotations

from orchestrator.reference.published import (
    GENERATED,
    METRICS,
    PublishedRow,
    Source,
    benchmark_protocols,
    family_of,
    find_row,
    published_rows,
    reference_lines,
)

__all__ = [
    "GENERATED",
    "METRICS",
    "PublishedRow",
    "Source",
    "benchmark_protocols",
    "family_of",
    "find_row",
    "published_rows",
    "reference_lines",
]
