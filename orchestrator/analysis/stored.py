"""The comparison that a results file holds, as rows again: reading it costs less than concluding it anew."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from orchestrator.analysis.rows import ComparisonRow, Gain
from orchestrator.analysis.schema import COMPARISON_KEY

_NAMES = frozenset(field.name for field in fields(ComparisonRow))


def stored_comparison(results_parquet: Path) -> list[ComparisonRow] | None:
    """Rows of `summary.comparison_data`; None where the file holds none of this form."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(results_parquet).metadata
        return [_row(data) for data in json.loads(metadata[COMPARISON_KEY])["rows"]]
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def stored_benchmark(results_parquet: Path) -> Mapping[str, Any] | None:
    """The benchmark's part of a stored comparison; None where there is none."""
    import pyarrow.parquet

    metadata = pyarrow.parquet.read_metadata(results_parquet).metadata
    found: Mapping[str, Any] | None = json.loads(metadata[COMPARISON_KEY]).get("benchmark")
    return found


def _row(data: Mapping[str, Any]) -> ComparisonRow:
    values = {name: value for name, value in data.items() if name in _NAMES}
    values["values"] = _by_seed(data["values"])
    for name in ("gain_same_regime", "gain_full"):
        if data[name] is not None:
            values[name] = Gain(**{**data[name], "differences": _by_seed(data[name]["differences"])})
    return ComparisonRow(**values)


def _by_seed(numbers: Mapping[str, float]) -> dict[int, float]:
    return {int(seed): number for seed, number in numbers.items()}
