"""`hsfm-sweep report`: the comparison of what is finished, in the terminal and as files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from orchestrator.cli.options import sweep_options, sweep_request
from orchestrator.cli.printing import console
from orchestrator.errors import ConfigError


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep report --grid quick
  hsfm-sweep report --grid quick --to ~/paper/tables
  hsfm-sweep report --grid quick --metric kappa"""
)
@sweep_options
@click.option(
    "--to", type=click.Path(path_type=Path), help="Folder for the files. Default: report/ in the sweep's folder."
)
@click.option(
    "--metric",
    metavar="NAME",
    help="Test score to compare by: one of the tool's, or one that `rescore --write` stored. Default: the search's.",
)
def report(to: Path | None, metric: str | None, **options: Any) -> None:
    """Compare what is finished: mean and spread over seeds, gains over both controls, costs.

    Writes results.parquet, results.csv, comparison.tex and comparison.html. It can run while the sweep does.
    """
    request = sweep_request(**options)
    from orchestrator.api_plan import view_sweep
    from orchestrator.ledger.store import open_ledger
    from orchestrator.report import write_report

    view = view_sweep(request.grid, request.locations, request.sweep_root, request.tracking_uri)
    if not view.records:
        raise ConfigError(
            f"sweep {request.grid.name!r} has no runs in {view.folder}; allowed: a sweep that was started; run "
            f"`hsfm-sweep --grid {options['grid']}` first, or name its folder with --out"
        )
    out = (to or view.folder / "report").expanduser().absolute()
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ConfigError(f"folder {out} cannot be written ({error.strerror}); choose another with --to") from error
    terminal = console()
    ledger = open_ledger(request.folder, request.grid.name, tracking_uri=request.tracking_uri, mode="read")
    with ledger:
        files = write_report(ledger, view.plan, out, console=terminal, publish=False, metric=metric)
    for file in files:
        terminal.print(f"wrote {escape(str(file))}", soft_wrap=True)
