"""`hsfm-sweep data imitate`: generated files in original formats, to try a grid before the data are there."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from orchestrator.cli.options import debug_option
from orchestrator.cli.printing import show_progress


@click.command(
    epilog="""\b
Example:
  hsfm-sweep data imitate hyko2 --to /tmp/generated
  HSFM_DATA_ROOT=/tmp/generated hsfm-sweep plan --grid hs3bench_smoke"""
)
@click.argument("names", nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), required=True, help="A data root of its own.")
@click.option("--images", type=int, default=10, show_default=True, help="How many images; 3 or more.")
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes what is generated.")
@click.option("--true-size", is_flag=True, help="Images as large as the real ones. Default: small.")
@debug_option
def imitate(names: tuple[str, ...], to: Path, images: int, seed: int, true_size: bool, debug: bool) -> None:  # noqa: ARG001
    """Write generated files in the exact formats of hyko2, hsi_drive or hcv2. Nothing in them is real.

    A marker file beside them keeps them from being taken for the real ones: lists, plans and tables say "generated".
    """
    from orchestrator.datasets.imitate import TRUE_PX
    from orchestrator.datasets.imitate import imitate as write

    for name in names:
        size_px = TRUE_PX.get(name) if true_size else None
        folder = write(name, to, images=images, seed=seed, size_px=size_px, progress=show_progress)
        click.echo(f"{name}: {folder}")
    click.echo(f"generated, not real; use them with --data-root {shlex.quote(str(to))} (or HSFM_DATA_ROOT)")
