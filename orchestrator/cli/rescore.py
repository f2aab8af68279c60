"""`hsfm-sweep rescore`."""

from __future__ import annotations

import click


@click.command()
def rescore() -> None:
    """Add a metric without training."""
    raise click.UsageError("not built yet")
