"""`hsfm-sweep retry`."""

from __future__ import annotations

import click


@click.command()
def retry() -> None:
    """Run again what failed."""
    raise click.UsageError("not built yet")
