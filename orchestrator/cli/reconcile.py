"""`hsfm-sweep reconcile`."""

from __future__ import annotations

import click


@click.command()
def reconcile() -> None:
    """Put the ledger in order after a crash."""
    raise click.UsageError("not built yet")
