"""`hsfm-sweep doctor`."""

from __future__ import annotations

import click


@click.command()
def doctor() -> None:
    """Check this machine."""
    raise click.UsageError("not built yet")
