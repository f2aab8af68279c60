"""What a sweep found, as Arrow tables for notebooks: one row a run, or one row a cell.

Both come from the ledger, so they can be read while the sweep runs and say what is finished so far.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.config import GridConfig
from orchestrator.config.loading import load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError
from orchestrator.ledger.location import DATABASE_NAME, SPOOL_NAME
from orchestrator.ledger.queries import list_sweeps, run_rows
from orchestrator.ledger.store import open_ledger

if TYPE_CHECKING:
    import pyarrow as pa

    from orchestrator.analysis.expected import ExpectedCell
    from orchestrator.analysis.rows import ComparisonRow
    from orchestrator.plan.planned import Plan

DEFAULT_ROOT = Path("hsfm_sweeps")
_FACTORS = (
    *("strategy", "strategy_name", "regime", "init", "dataset", "labels", "label_budget", "budget_kind"),
    *("budget_value", "transfer", "leakage", "split", "selection", "state", "reason", "metric", "mean", "spread"),
)
_COUNTS = (
    "oa_border",
    "oa_interior",
    "validation_mean",
    "chosen",
    "labels_train",
    "labels_validation",
    "classes_trained",
    "classes",
)


@dataclass(frozen=True, kw_only=True)
class SweepPlace:
    """A sweep by its grid or its folder, found."""

    name: str
    """Name of the MLflow experiment."""
    folder: Path
    tracking_uri: str | None
    """None = MLFLOW_TRACKING_URI, else the store in the folder."""
    grid: GridConfig | None
    """None where only the folder is known: then nobody knows which cells were asked for."""

    def plan(self, data_root: Path | None = None) -> Plan | None:
        """The sweep's plan as it stands now; None without a grid."""
        from orchestrator.api_plan import build_plan

        if self.grid is None:
            return None
        return build_plan(self.grid, DataLocations.from_environment(data_root), self.folder.parent, self.tracking_uri)


def find_sweep(
    sweep: str | Path | GridConfig,
    overrides: Sequence[str] = (),
    *,
    root: Path = DEFAULT_ROOT,
    tracking_uri: str | None = None,
) -> SweepPlace:
    """A sweep by a packaged grid's name, a grid's file, a loaded grid, or the sweep's own folder.

    Raises:
        ConfigError: neither a grid nor a folder of a sweep.
    """
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    if isinstance(sweep, GridConfig):
        return SweepPlace(name=sweep.name, folder=Path(root) / sweep.name, tracking_uri=uri, grid=sweep)
    folder = Path(sweep).expanduser()
    if (folder / DATABASE_NAME).is_file() or (folder / SPOOL_NAME).is_dir():
        folder = folder.resolve()
        names = [found.name for found in list_sweeps(folder.parent) if found.sweep_dir == folder]
        if len(names) > 1:
            raise ConfigError(f"folder {folder} holds several sweeps: {', '.join(names)}; give the grid instead")
        return SweepPlace(name=names[0] if names else folder.name, folder=folder, tracking_uri=uri, grid=None)
    if folder.is_dir() and (isinstance(sweep, Path) or len(folder.parts) > 1):
        inside = [found.name for found in list_sweeps(folder)]
        held = f"it holds the folders of {', '.join(inside)}" if inside else "it holds none"
        raise ConfigError(f"folder {folder} is not a sweep's own folder ({held}); allowed: a grid, or a sweep's folder")
    grid = load_grid(str(sweep), overrides)
    return SweepPlace(name=grid.name, folder=Path(root) / grid.name, tracking_uri=uri, grid=grid)


def load_results(
    sweep: str | Path | GridConfig,
    overrides: Sequence[str] = (),
    *,
    root: Path = DEFAULT_ROOT,
    tracking_uri: str | None = None,
) -> pa.Table:
    """All runs of a sweep, one row a run: the same table as `results.parquet`, read from the ledger now.

    What a run does not have is null. Scores are shares in 0..1, times seconds (`device_s`, `wall_s`), label counts
    pixels. `units` holds the confusion matrix of every test image or block of a final run, rows = target. Scores that
    `hsfm-sweep rescore --write` added follow as `test_<name>`. `.to_pandas()` makes a DataFrame.

    Args:
        sweep: a packaged grid's name, a grid's file, a loaded grid, or the sweep's own folder.
        overrides: `key=value` settings that the sweep was started with (only `name` matters here).
        root: folder of all sweeps; not used where `sweep` is a folder.
        tracking_uri: MLflow server; None = MLFLOW_TRACKING_URI, else the store in the sweep's folder.

    Returns:
        A `pyarrow.Table`; stopped, failed and superseded runs included (see its column `state`).

    Raises:
        ConfigError: no such grid or folder, or a sweep without any run.
        LedgerError: the ledger or an artifact cannot be read.
    """
    return results_of(find_sweep(sweep, overrides, root=root, tracking_uri=tracking_uri))


def results_of(place: SweepPlace) -> pa.Table:
    """`load_results` of a sweep that is found."""
    from orchestrator.analysis.results import results_table

    with open_ledger(place.folder, place.name, tracking_uri=place.tracking_uri, mode="read") as ledger:
        rows = run_rows(ledger)
    if not rows:
        raise ConfigError(
            f"sweep {place.name!r} has no runs in {place.folder}; allowed: a sweep that was started; run it first, or "
            "name the folder of all sweeps with root (--out on the command line)"
        )
    return results_table(rows)


def load_comparison(
    sweep: str | Path | GridConfig,
    overrides: Sequence[str] = (),
    *,
    metric: str | None = None,
    intervals: bool = True,
    data_root: Path | None = None,
    root: Path = DEFAULT_ROOT,
    tracking_uri: str | None = None,
) -> pa.Table:
    """The comparison of a sweep, one row a cell (strategy x data set x label budget), as the report shows it.

    `mean` and `spread` (sample standard deviation) run over seeds and are null where a cell is not complete.
    `interval_low` and `interval_high` are the 95% bootstrap interval over test images or blocks, null for one unit.
    Gains are differences to a control paired by seed. Scores and gains are shares (0..1). `device_s` are seconds of the
    cell's own runs, `shared_s` those of pretrainings and features that it shares with other cells. `oa_border` is the
    overall accuracy within 2 px of another class, `oa_interior` that of all other test pixels.

    Args:
        sweep: a packaged grid's name, a grid's file, a loaded grid, or the sweep's own folder. From a folder alone the
            cells are those that have runs; with a grid those that it asks for, blocked ones included.
        overrides: `key=value` settings that the sweep was started with.
        metric: test score to compare by (see `orchestrator.metrics`), or one that `rescore --write` stored; None = the
            one that the search chose by, or mIoU where only a folder is given.
        intervals: also compute the intervals (about 0.1 s a final run).
        data_root: folder with data sets (default: HSFM_DATA_ROOT).
        root: folder of all sweeps; not used where `sweep` is a folder.
        tracking_uri: MLflow server; None = MLFLOW_TRACKING_URI, else the store in the sweep's folder.

    Raises:
        ConfigError: no such grid, folder or metric, or a sweep without any run.
        LedgerError: the ledger or an artifact cannot be read.
    """
    import pyarrow as pa

    from orchestrator.analysis.summary import compare

    place = find_sweep(sweep, overrides, root=root, tracking_uri=tracking_uri)
    table = results_of(place)
    plan = place.plan(data_root)
    chosen_by = plan.search.metric if plan else "miou"
    rows = compare(table, metric=metric or chosen_by, expected=_expected(plan), chosen_by=chosen_by)
    bounds = _bounds(table, rows) if intervals else {}
    return pa.Table.from_pylist([_cell(row, bounds.get(row.cell_id or "")) for row in rows])


def _expected(plan: Plan | None) -> tuple[ExpectedCell, ...] | None:
    from orchestrator.analysis.expected import expected_cells

    return expected_cells(plan) if plan else None


def _bounds(table: pa.Table, rows: Sequence[ComparisonRow]) -> dict[str, tuple[float | None, float | None]]:
    """Interval of each complete cell, by its id; none for a stored metric that no confusion matrix gives."""
    from orchestrator.analysis.intervals import finals_by_cell, unit_scores
    from orchestrator.analysis.scorers import BUILT_IN, built_in

    if not rows or rows[0].metric not in BUILT_IN:
        return {}
    scorer, finals = built_in(rows[0].metric), finals_by_cell(table)
    found = {
        row.cell_id: unit_scores(finals[row.cell_id], scorer) for row in rows if row.mean is not None and row.cell_id
    }
    return {cell_id: (units.low, units.high) for cell_id, units in found.items()}


def _cell(row: ComparisonRow, bounds: tuple[float | None, float | None] | None) -> dict[str, Any]:
    same, full = row.gain_same_regime, row.gain_full
    low, high = bounds or (None, None)
    return {
        **{name: getattr(row, name) for name in _FACTORS},
        "interval_low": low,
        "interval_high": high,
        "seeds": len(row.values),
        "seeds_expected": row.seeds_expected,
        **{name: getattr(row, name) for name in _COUNTS},
        "parameters_total": row.parameters_total,
        "parameters_trained": row.parameters_trained,
        "device_s": sum(row.device_s.values()) if row.device_s else None,
        "shared_s": sum(row.shared_s.values()) if row.shared_s else None,
        "gain_same_regime": same.mean if same else None,
        "gain_same_regime_spread": same.spread if same else None,
        "gain_same_regime_control": same.control if same else None,
        "gain_full": full.mean if full else None,
        "gain_full_spread": full.spread if full else None,
        "gain_full_control": full.control if full else None,
        "cell_id": row.cell_id,
    }
