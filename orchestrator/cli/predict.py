"""`hsfm-sweep predict`."""

from __future__ import annotations

import click


@click.command()
def predict() -> None:
    """Predict label maps of new cubes with a trained model."""
    raise click.UsageError("not built yet")
