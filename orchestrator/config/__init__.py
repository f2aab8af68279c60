"""The grid file: its schema, how it is read, and what its values may be. Knows no strategy and no data set."""

from __future__ import annotations

from orchestrator.config.loading import apply_overrides, list_grids, list_protocols, load_grid
from orchestrator.config.schema import BlockConfig, ExecutionConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.config.storage import own_storage, storage_of
from orchestrator.config.validation import METRIC_NAMES, NORMALISATIONS, SELECTIONS, SPLITS, validate

__all__ = [
    "METRIC_NAMES",
    "NORMALISATIONS",
    "SELECTIONS",
    "SPLITS",
    "BlockConfig",
    "ExecutionConfig",
    "GridConfig",
    "SearchConfig",
    "TrainConfig",
    "apply_overrides",
    "list_grids",
    "list_protocols",
    "load_grid",
    "own_storage",
    "storage_of",
    "validate",
]
