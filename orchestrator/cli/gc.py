"""`hsfm-sweep gc`."""

from __future__ import annotations

import click


@click.command()
def gc() -> None:
    """Show, then remove, files that nothing needs any more."""
    raise click.UsageError("not built yet")
