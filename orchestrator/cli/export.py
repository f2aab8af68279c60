"""`hsfm-sweep export`."""

from __future__ import annotations

import click


@click.command()
def export() -> None:
    """Write a trained model as plain files."""
    raise click.UsageError("not built yet")
