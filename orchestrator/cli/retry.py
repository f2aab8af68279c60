"""`hsfm-sweep retry`: run again only what failed."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.options import sweep_options
from orchestrator.cli.run import run_and_tell


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep retry --grid quick
  hsfm-sweep retry --grid quick --cell in_domain/unet"""
)
@sweep_options
@click.option("--cell", default="", metavar="TEXT", help="Only cells with TEXT in their name or id.")
def retry(cell: str, **options: Any) -> int:
    """Run again only what failed, failed search trials included.

    Running the grid itself tries a failed run again only where a result depends on it. Where a trial that failed
    before turns out best now, the final runs are done anew with its hyperparameters; the former ones stay in MLflow,
    marked superseded.
    """
    return run_and_tell(options, retry=cell)
