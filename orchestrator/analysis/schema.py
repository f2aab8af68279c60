"""Columns of the results table: name, Arrow type, and where in the ledger each comes from.

The table is the contract between a sweep and everything that reads it (reports, dashboards, notebooks): one row a
run, absent is null and never 0. A change of a column's name, type or meaning raises `SCHEMA_VERSION`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import pyarrow as pa

from orchestrator.metrics import METRICS

SCHEMA_VERSION = 1
VERSION_KEY = b"hsfm.schema_version"
SWEEP_KEY = b"hsfm.sweep"
COMPARISON_KEY = b"hsfm.comparison"

Source = Literal["row", "tag", "param", "metric", "evaluation", "derived"]


@dataclass(frozen=True)
class Column:
    """One column of the results table."""

    name: str
    kind: pa.DataType
    source: Source
    """row: field of `RunRow`; tag, param, metric: by name in the ledger; evaluation: of evaluation.json."""
    key: str
    """Name at the source."""


def _tags(kind: pa.DataType, *names: str) -> tuple[Column, ...]:
    return tuple(Column(name, kind, "tag", f"hsfm.{name}") for name in names)


def _scores(section: str) -> tuple[Column, ...]:
    return tuple(Column(f"{section}_{name}", pa.float64(), "metric", f"{section}/{name}") for name in METRICS)


_TEXT, _WHOLE, _REAL, _CLAIM = pa.string(), pa.int64(), pa.float64(), pa.bool_()
# counts of a test image or block, rows = target; with train.undefined_output one more: the last column counts pixels
# predicted as undefined, the last row is empty
UNIT = pa.struct([("name", pa.string()), ("confusion", pa.list_(pa.list_(pa.int64())))])

COLUMNS: tuple[Column, ...] = (
    Column("run_id", _TEXT, "row", "run_id"),
    Column("key", _TEXT, "row", "key"),
    Column("cell_id", _TEXT, "row", "cell_id"),
    Column("slots", pa.list_(_TEXT), "row", "slots"),
    Column("stage", _TEXT, "row", "stage"),
    Column("state", _TEXT, "row", "state"),
    *_tags(_TEXT, "cell_name", "strategy", "strategy_name", "family", "regime", "init", "control_of"),
    *_tags(_TEXT, "transfer", "leakage", "dataset", "labels", "label_budget"),
    Column("budget_kind", _TEXT, "derived", "label_budget"),
    Column("budget_value", _REAL, "derived", "label_budget"),
    *_tags(_WHOLE, "seed", "fold", "attempt"),
    *_tags(_TEXT, "split", "normalisation_scope", "selection"),
    *_scores("val"),
    *(Column(f"val_best_{name}", pa.float64(), "metric", f"val/best_{name}") for name in METRICS),
    *_scores("test"),
    *(Column(f"headline_{name}", _REAL, "derived", name) for name in METRICS),
    Column("train_loss", _REAL, "metric", "train/loss"),
    Column("device_s", _REAL, "metric", "cost/device_s"),
    Column("wall_s", _REAL, "metric", "cost/wall_s"),
    Column("labels_train", _WHOLE, "metric", "labels/train"),
    Column("labels_validation", _WHOLE, "metric", "labels/validation"),
    Column("classes_trained", _WHOLE, "metric", "labels/classes_trained"),
    *_tags(_WHOLE, "parameters_total", "parameters_trained", "bands_used"),
    *_tags(_TEXT, "device", "licence", "stop_reason", "error", "log"),
    *_tags(_CLAIM, "optional"),
    *_tags(_TEXT, "git_commit"),
    *_tags(_CLAIM, "git_dirty"),
    *_tags(_TEXT, "versions", "dataset_digest"),
    Column("params", _TEXT, "derived", "params"),
    Column("class_names", pa.list_(_TEXT), "evaluation", "class_names"),
    Column("scored_classes", pa.list_(_WHOLE), "evaluation", "scored_classes"),
    Column("headline_classes", pa.list_(_TEXT), "evaluation", "headline_classes"),
    Column("test_iou", pa.list_(_REAL), "derived", "iou"),
    Column("test_f1", pa.list_(_REAL), "derived", "f1"),
    Column("test_recall", pa.list_(_REAL), "derived", "recall"),
    Column("units", pa.list_(UNIT), "evaluation", "units"),
    Column("audit", _TEXT, "derived", "audit"),
)

SCHEMA = pa.schema([(column.name, column.kind) for column in COLUMNS], metadata={VERSION_KEY: str(SCHEMA_VERSION)})
