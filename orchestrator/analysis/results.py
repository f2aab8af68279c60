"""The results table: one row a run, from the ledger to Arrow, Parquet and CSV. Computes no statistics."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet

from orchestrator.analysis.schema import (
    COLUMNS,
    COMPARISON_KEY,
    SCHEMA,
    SCHEMA_VERSION,
    SWEEP_KEY,
    UNIT,
    VERSION_KEY,
    Column,
)
from orchestrator.errors import DataError
from orchestrator.ledger.records import RunRow
from orchestrator.metrics import METRICS, per_class, scores

UNITS = "units"
ROWS_AT_ONCE = 200
_ABSENT = frozenset(("", "None", "null"))
_BUDGET = re.compile(r"^(?P<value>[0-9.eE+-]+)(?P<unit>%|-shot)")


def results_table(rows: Sequence[RunRow]) -> pa.Table:
    """All runs of a sweep as one table in `SCHEMA`; what a run does not have is null.

    Scores that `rescore --write` added to the runs follow as columns `test_<name>`, float64.

    Args:
        rows: runs as the ledger holds them, superseded and failed ones included.

    Raises:
        DataError: a value of the ledger that does not fit its column, for example a seed that is no whole number.
    """
    records = [_record(row) for row in rows]
    place = SCHEMA.get_field_index(UNITS)
    table = pa.Table.from_pylist(records, schema=SCHEMA.remove(place))
    table = table.add_column(place, SCHEMA.field(place), _units_column(rows))
    for name in _added_metrics(rows):
        values = [row.metrics.get(f"test/{name}") for row in rows]
        finite = [value if value is not None and np.isfinite(value) else None for value in values]
        table = table.append_column(f"test_{name}", pa.array(finite, type=pa.float64()))
    return table


def _units_column(rows: Sequence[RunRow]) -> pa.Array:
    """The confusion matrices: by far the most numbers of the table, so they go to Arrow without becoming objects."""
    names: list[str] = []
    counts: list[np.ndarray] = [np.empty(0, dtype=np.int64)]
    units_of_row = [0]
    shapes: list[tuple[int, ...]] = []
    for row in rows:
        units = (row.evaluation or {}).get(UNITS) or ()
        units_of_row.append(units_of_row[-1] + len(units))
        names.extend(unit["name"] for unit in units)
        for unit in units:
            matrix = np.asarray(unit["confusion"], dtype=np.int64)
            counts.append(matrix.ravel())
            shapes.append(matrix.shape)
    heights, widths = np.asarray(shapes, dtype=np.int64).reshape(-1, 2).T
    of_lines = np.concatenate([[0], np.cumsum(np.repeat(widths, heights))])
    of_units = np.concatenate([[0], np.cumsum(heights)])
    lines = pa.ListArray.from_arrays(pa.array(of_lines, pa.int32()), pa.array(np.concatenate(counts)))
    matrices = pa.ListArray.from_arrays(pa.array(of_units, pa.int32()), lines)
    structs = pa.StructArray.from_arrays([pa.array(names, pa.string()), matrices], fields=list(UNIT))
    has_none = pa.array([row.evaluation is None or row.evaluation.get(UNITS) is None for row in rows], pa.bool_())
    return pa.ListArray.from_arrays(pa.array(units_of_row, pa.int32()), structs, mask=has_none)


def _added_metrics(rows: Sequence[RunRow]) -> list[str]:
    """Test scores that `rescore --write` added to the runs, by name: they follow the fixed columns."""
    fixed = {column.name for column in COLUMNS} | {"test_headline_miou"}  # a column of its own: headline_miou
    found = {name.removeprefix("test/") for row in rows for name in row.metrics if name.startswith("test/")}
    return sorted(name for name in found if f"test_{name}" not in fixed)


def write_parquet(
    table: pa.Table,
    path: Path,
    *,
    comparison: Mapping[str, Any] | None = None,
    sweep: Mapping[str, Any] | None = None,
) -> Path:
    """Write the table atomically, with what was concluded from it in the file's metadata.

    Args:
        table: from `results_table`.
        path: file to make.
        comparison: `summary.comparison_data(...)`: what dashboards show without computing it again.
        sweep: name, description and settings of the sweep, plain data.
    """
    metadata = dict(table.schema.metadata or {})
    for key, value in ((COMPARISON_KEY, comparison), (SWEEP_KEY, sweep)):
        if value is not None:
            metadata[key] = json.dumps(value, allow_nan=False).encode()
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    pyarrow.parquet.write_table(table.replace_schema_metadata(metadata), unfinished)
    os.replace(unfinished, path)
    return path


def read_parquet(path: Path) -> pa.Table:
    """A results table that `write_parquet` wrote.

    Raises:
        DataError: no such file, no results table, or of another schema version.
    """
    if not path.is_file():
        raise DataError(f"no results table at {path}; `hsfm-sweep report` writes it")
    try:
        table = pyarrow.parquet.read_table(path)
    except pa.ArrowException as error:
        raise DataError(f"{path} is no Parquet file ({error}); write it again with `hsfm-sweep report`") from error
    found = (table.schema.metadata or {}).get(VERSION_KEY)
    if found is None or found.decode() != str(SCHEMA_VERSION):
        has = "no schema version" if found is None else f"schema version {found.decode()}"
        raise DataError(
            f"{path} has {has}; this version reads {SCHEMA_VERSION}; write it again with `hsfm-sweep report`"
        )
    return table


def write_csv(table: pa.Table, path: Path) -> Path:
    """The table as CSV; nested columns as JSON text, null as an empty field, whole numbers without a point."""
    arrays = []
    for column in table.itercolumns():
        if pa.types.is_nested(column.type):
            arrays.append(pa.array(_json_texts(column), type=pa.string()))
        else:
            arrays.append(column)
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    pyarrow.csv.write_csv(pa.table(arrays, names=table.column_names), unfinished)
    os.replace(unfinished, path)
    return path


def _json_texts(column: pa.ChunkedArray) -> Iterator[str | None]:
    """Values as JSON; a part of the column at a time, because as Python objects all matrices take gigabytes."""
    for start in range(0, len(column), ROWS_AT_ONCE):
        for value in column.slice(start, ROWS_AT_ONCE).to_pylist():
            yield None if value is None else json.dumps(value, separators=(",", ":"))


def parse_budget(text: str | None) -> tuple[str | None, float | None]:
    """Kind and value of a label budget from its name: "10%" is ("fraction", 0.1), "5-shot" is ("k_shot", 5.0)."""
    found = _BUDGET.match(text or "")
    if not found:
        return None, None
    value = float(found["value"])
    return ("fraction", value / 100) if found["unit"] == "%" else ("k_shot", value)


def _record(row: RunRow) -> dict[str, Any]:
    derived = _derived(row)
    return {column.name: _value(column, row, derived) for column in COLUMNS if column.name != UNITS}


def _value(column: Column, row: RunRow, derived: Mapping[str, Any]) -> Any:
    if column.source == "row":
        value = getattr(row, column.key)
        return list(value) if isinstance(value, tuple) else value
    if column.source == "derived":
        return derived.get(column.name)
    if column.source == "evaluation":
        return (row.evaluation or {}).get(column.key)
    if column.source == "metric":
        found: Any = row.metrics.get(column.key)
    else:
        # the digest of the data is a param of the run's spec in some ledgers and a tag in others
        found = row.tags.get(column.key, row.params.get(column.name))
    return _typed(found, column, row)


def _typed(value: Any, column: Column, row: RunRow) -> Any:
    """`value` in the column's type; texts of the ledger become numbers here and nowhere else."""
    if value is None or value in _ABSENT:
        return None
    try:
        if pa.types.is_integer(column.kind):
            number = float(value)
            # a store that keeps numbers as floats gives 224 back as 224.0
            if number != int(number):
                raise ValueError(value)
            return int(number)
        if pa.types.is_floating(column.kind):
            number = float(value)
            return number if np.isfinite(number) else None
        if pa.types.is_boolean(column.kind):
            return {"true": True, "1": True, "false": False, "0": False}[str(value).lower()]
    except (ValueError, OverflowError, KeyError) as error:
        raise DataError(
            f"run {row.run_id}: {column.key} is {value!r}; allowed: {column.kind} or absent; "
            "see the run in `hsfm-sweep ui`"
        ) from error
    return str(value)


def _derived(row: RunRow) -> dict[str, Any]:
    kind, value = parse_budget(row.tags.get("hsfm.label_budget"))
    found: dict[str, Any] = {
        "budget_kind": kind,
        "budget_value": value,
        "params": json.dumps(dict(row.params), sort_keys=True) if row.params else None,
    }
    headline = {name: row.metrics.get(f"test/{name}") for name in METRICS}
    evaluation = row.evaluation
    if evaluation and evaluation.get("audit") is not None:
        found["audit"] = json.dumps(evaluation["audit"], sort_keys=True)
    if evaluation and evaluation["units"]:
        whole = sum(np.asarray(unit["confusion"], dtype=np.int64) for unit in evaluation["units"])
        names = evaluation["class_names"]
        by_class = per_class(whole, evaluation["scored_classes"])
        for score in ("iou", "f1", "recall"):
            found[f"test_{score}"] = [by_class[i][score] if i in by_class else None for i in range(len(names))]
        if evaluation.get("headline_classes"):
            indices = [names.index(name) for name in evaluation["headline_classes"]]
            headline = {**headline, **scores(whole, indices)}
    for name, score_value in headline.items():
        found[f"headline_{name}"] = score_value if score_value is None or np.isfinite(score_value) else None
    return found
