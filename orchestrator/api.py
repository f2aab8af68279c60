"""The tool as functions: what the command line calls, and a notebook can.

`plan` looks and starts nothing; `run` starts or continues a sweep and returns how it ended; `load_results`,
`load_comparison` and `load_predictions` read what it found, also while it runs.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.markup import escape

from orchestrator.api_plan import SweepView, build_plan, failed_cells, only, view_sweep
from orchestrator.api_predictions import load_predictions
from orchestrator.api_results import DEFAULT_ROOT, load_comparison, load_results
from orchestrator.config import GridConfig, storage_of
from orchestrator.config.loading import load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import FeasibilityError, LedgerError
from orchestrator.plan.planned import Plan

if TYPE_CHECKING:
    from orchestrator.execution.outcome import SweepOutcome

PATIENCE_S, HASTE_S = 300.0, 20.0
"""How long MLflow is waited for at the end of a sweep, and where something else has gone wrong."""

__all__ = ["load_comparison", "load_predictions", "load_results", "plan", "run", "run_sweep"]


def plan(
    grid: str | Path | GridConfig,
    overrides: Sequence[str] = (),
    *,
    data_root: Path | None = None,
    root: Path = DEFAULT_ROOT,
    tracking_uri: str | None = None,
    plugins: Sequence[str | Path] = (),
    accept_licenses: Sequence[str] = (),
) -> Plan:
    """Every cell of a grid with its state, reason, runs and estimated cost. Starts nothing.

    A notebook shows the returned plan as a table, and `print` does in a terminal. `plan.table()` is the same as a
    `pyarrow.Table`, one row a cell; times in it are seconds (`device_s`), disk space is GiB (`disk_gib`).

    Args:
        grid: a packaged grid's name, a file's path, or a loaded grid.
        overrides: `key=value` settings, the value in YAML: `["seeds=5", "label_budgets=[0.05, 0.1]"]`.
        data_root: folder with data sets (default: HSFM_DATA_ROOT).
        root: folder of all sweeps; this one's is `root / <name of the grid>`.
        tracking_uri: MLflow server; None = MLFLOW_TRACKING_URI, else the store in the sweep's folder.
        plugins: files of further strategies (they are run: trusted ones only).
        accept_licenses: licences of weights that are not permissive and that you accept, by name.

    Raises:
        ConfigError: an unknown name, or a value that is not allowed.
        LedgerError: the sweep's ledger is there and cannot be read.
    """
    loaded = _load(grid, overrides, plugins)
    return build_plan(
        loaded,
        DataLocations.from_environment(data_root, accept_licenses),
        Path(root),
        tracking_uri or os.environ.get("MLFLOW_TRACKING_URI"),
    )


def run(
    grid: str | Path | GridConfig,
    overrides: Sequence[str] = (),
    *,
    data_root: Path | None = None,
    root: Path = DEFAULT_ROOT,
    tracking_uri: str | None = None,
    retry: str | None = None,
    plugins: Sequence[str | Path] = (),
    accept_licenses: Sequence[str] = (),
    console: Console | None = None,
) -> SweepOutcome:
    """Run a grid, or continue it: what the ledger has finished is never started again.

    Returns when everything is done, has failed or is blocked. While it runs, a notebook shows one table that renews
    itself; interrupting the cell ends the sweep at its next checkpoints, and the same call goes on from there.

    Args:
        grid: a packaged grid's name, a file's path, or a loaded grid.
        overrides: `key=value` settings, the value in YAML.
        data_root: folder with data sets (default: HSFM_DATA_ROOT).
        root: folder of all sweeps; this one's is `root / <name of the grid>`.
        tracking_uri: MLflow server; None = MLFLOW_TRACKING_URI, else the store in the sweep's folder.
        retry: run only what failed, in the cells whose name or id contains this text ("" = all).
        plugins: files of further strategies (they are run: trusted ones only).
        accept_licenses: licences of weights that are not permissive and that you accept, by name.
        console: where progress goes; None = the notebook or the terminal.

    Returns:
        How it ended: `finished` (number of cells), `failed` and `blocked` (one line each, with the reason),
        `is_interrupted`, `report` (the comparison as an HTML page), `folder`.

    Raises:
        ConfigError: wrong configuration; nothing was started.
        LedgerError: the ledger cannot be opened, or another driver holds the sweep.
        ExecutionError: nothing moved any more, or Ray died; what is finished is kept, the same call goes on.
    """
    loaded = _load(grid, overrides, plugins)
    locations = DataLocations.from_environment(data_root, accept_licenses)
    uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI")
    files = [str(Path(plugin).resolve()) for plugin in plugins]
    return run_sweep(loaded, locations, Path(root), uri, retry=retry, plugins=files, console=console or Console())


def _load(grid: str | Path | GridConfig, overrides: Sequence[str], plugins: Sequence[str | Path]) -> GridConfig:
    from strategies.registry import load_plugin

    for plugin in plugins:
        load_plugin(plugin)
    return grid if isinstance(grid, GridConfig) else load_grid(str(grid), overrides)


def run_sweep(
    grid: GridConfig,
    locations: DataLocations,
    sweep_root: Path,
    tracking_uri: str | None,
    *,
    retry: str | None = None,
    plugins: Sequence[str] = (),
    console: Console | None = None,
) -> SweepOutcome:
    """`run` with everything resolved; see there."""
    from orchestrator.ledger.store import open_ledger
    from orchestrator.report import finished_already, remember_origin, write_report

    console = console or Console()
    folder = (sweep_root / grid.name).resolve()
    view = view_sweep(grid, locations, sweep_root, tracking_uri)
    before = view.plan
    if not before.is_feasible:
        raise FeasibilityError(before.feasibility)
    if retry is None and (done := finished_already(view, tracking_uri, console)) is not None:
        return done
    chosen = failed_cells(before, retry) if retry is not None else ()
    from orchestrator.execution.sweep import Paths, run_plan

    # before data are prepared, which can take minutes: a folder that cannot be written is told at once
    ledger = open_ledger(folder, grid.name, tracking_uri=tracking_uri, mode="drive")
    try:
        damaged = _prepare(before, locations, console)
        for line in ledger.reconcile():
            console.print(f"[dim]{line}[/dim]")
        view = _with_damage(view_sweep(grid, locations, sweep_root, tracking_uri), damaged)
        storage = storage_of(grid, folder)
        paths = Paths(
            prepared=_prepared_paths(view, locations, damaged), weights=_weights_paths(view, locations), storage=storage
        )
        to_do = only(view.plan, chosen) if retry is not None else view.plan
        outcome = run_plan(to_do, ledger, paths, folder, console=console, plugins=plugins, retry=chosen)
        ledger.flush(PATIENCE_S)
        after = _with_damage(view_sweep(grid, locations, sweep_root, tracking_uri), damaged)
        files = write_report(ledger, after.plan, folder / "report", console=console)
        outcome.report = files[-1]
    except BaseException:
        # what is wrong is told now: events that MLflow has not taken are safe in the spool
        with contextlib.suppress(LedgerError):
            ledger.close(HASTE_S)
        raise
    ledger.close(PATIENCE_S)
    if not damaged:
        remember_origin(folder / "report", after.plan, ledger.stamp_at_rest())
    return outcome


def _prepare(plan: Plan, locations: DataLocations, console: Console) -> dict[str, str]:
    """Prepare the data sets of cells that can run; a damaged one stops only its own cells: what is wrong, by source.

    Data of cells that are done are not looked at: nothing reads them, and checking them takes as long as reading them.
    """
    from orchestrator.datasets.prepare import prepare
    from orchestrator.errors import DataError

    damaged: dict[str, str] = {}
    usable = [cell for cell in plan.cells if cell.state not in ("blocked", "done")]
    new = {cell.dataset_source for cell in usable if cell.cell_id is None}
    for source in dict.fromkeys(name for cell in usable for name in (cell.dataset_source, *cell.sources)):
        if source in new:
            console.print(f"preparing data set {escape(source)}", soft_wrap=True)
        try:
            prepare(source, locations)
        except DataError as error:
            damaged[source] = str(error)
    return damaged


def _with_damage(view: SweepView, damaged: Mapping[str, str]) -> SweepView:
    """The view with cells of damaged data blocked, and why; what is done stays done."""
    cells = tuple(
        replace(cell, state="blocked", reason=damaged[bad[0]], remedy="")
        if (bad := [name for name in (cell.dataset_source, *cell.sources) if name in damaged]) and cell.state != "done"
        else cell
        for cell in view.plan.cells
    )
    return replace(view, plan=replace(view.plan, cells=cells))


def _prepared_paths(view: SweepView, locations: DataLocations, damaged: Mapping[str, str]) -> dict[str, str]:
    from orchestrator.datasets.prepare import prepare

    names = {
        cell.dataset_source: cell.facts.name
        for cell in view.plan.cells
        if cell.cell_id is not None and cell.state not in ("blocked", "done") and cell.dataset_source not in damaged
    }
    for cell in view.plan.cells:
        if cell.cell_id is not None and cell.state not in ("blocked", "done"):
            known = cell.pretraining.train["datasets"] if cell.pretraining else ()
            names |= {name: str(own) for name, (own, _) in zip(cell.sources, known, strict=False)}
    return {fact_name: str(prepare(name, locations)) for name, fact_name in names.items()}


def _weights_paths(view: SweepView, locations: DataLocations) -> dict[str, str]:
    """File of each checkpoint that a cell starts from, by its SHA-256; synthetic ones are written now."""
    from orchestrator.api_plan import ready_weights
    from orchestrator.plan.choices import instantiate
    from orchestrator.plan.provenance import used_weights

    usable = {id(c.cell.strategy): c.cell.strategy for c in view.plan.cells if c.state not in ("blocked", "done")}
    names = {used_weights(instantiate(choice)) for choice in usable.values()}
    found = [ready_weights(name, locations) for name in sorted(name for name in names if name is not None)]
    return {status.sha256: status.path for status in found if status.sha256 and status.path}
