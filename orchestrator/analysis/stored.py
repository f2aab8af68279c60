"""The comparison that a results file holds, as rows again: reading it costs less than concluding it anew."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

from orchestrator.analysis.rows import ComparisonRow, Gain
from orchestrator.analysis.schema import COMPARISON_KEY
from orchestrator.analysis.shared_stages import SharedStage

_NAMES = frozenset(field.name for field in fields(ComparisonRow))


@dataclass(frozen=True, kw_only=True)
class StoredComparison:
    """What is printed of a comparison."""

    rows: Sequence[ComparisonRow]
    notes: Sequence[str]
    benchmark: Mapping[str, Any] | None
    """The benchmark's part, where the sweep follows the protocol of one."""
    few_shot: Mapping[str, Any] | None
    """The few-shot part, where label budgets are labels a class."""
    shared: Sequence[SharedStage]


def stored_comparison(results_parquet: Path) -> StoredComparison | None:
    """The comparison that a results file holds; None where it holds none of this form."""
    import pyarrow as pa
    import pyarrow.parquet

    try:
        metadata = pyarrow.parquet.read_metadata(results_parquet).metadata
        data = json.loads(metadata[COMPARISON_KEY])
        return StoredComparison(
            rows=[_row(row) for row in data["rows"]],
            notes=data["notes"],
            benchmark=data["benchmark"],
            few_shot=data["few_shot"],
            shared=[SharedStage(**stage) for stage in data["shared"]],
        )
    except (OSError, pa.ArrowException, KeyError, TypeError, ValueError):
        return None


def _row(data: Mapping[str, Any]) -> ComparisonRow:
    values = {name: value for name, value in data.items() if name in _NAMES}
    values["values"] = _by_seed(data["values"])
    values["control_of"] = tuple(data.get("control_of", ()))
    values["interval"] = data["interval"] and tuple(data["interval"])
    for name in ("gain_same_regime", "gain_full"):
        if data[name] is not None:
            interval = data[name].get("interval")
            seeds = {"differences": _by_seed(data[name]["differences"]), "interval": interval and tuple(interval)}
            values[name] = Gain(**{**data[name], **seeds})
    return ComparisonRow(**values)


def _by_seed(numbers: Mapping[str, float]) -> dict[int, float]:
    return {int(seed): number for seed, number in numbers.items()}
