"""The grid file: its schema, how it is read, and what its values may be. Knows no strategy and no data set."""

from __future__ import annotations

from orchestrator.config.loading import list_grids, load_grid
from orchestrator.config.schema import BlockConfig, ExecutionConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.config.validation import METRIC_NAMES, SELECTIONS, SPLITS, validate

__all__ = [
    "METRIC_NAMES",
    "SELECTIONS",
    "SPLITS",
    "BlockConfig",
    "ExecutionConfig",
    "GridConfig",
    "SearchConfig",
    "TrainConfig",
    "list_grids",
    "load_grid",
    "validate",
]
