"""`hsfm-sweep data cubes`: images of a data set as files that predict takes, with pictures."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import data_root_option, debug_option
from orchestrator.cli.printing import show_progress
from orchestrator.datasets.locations import DataLocations


@click.command(
    epilog="""\b
Example:
  hsfm-sweep data cubes ximea_nir25 --to /tmp/ximea
  hsfm-sweep predict --model best --grid hs3bench_smoke --dataset hsi_drive /tmp/ximea/*.npy --to /tmp/maps"""
)
@click.argument("name")
@click.option("--to", type=click.Path(path_type=Path), required=True, help="Folder to write into.")
@data_root_option
@debug_option
def cubes(name: str, to: Path, data_root: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Write each image of a data set as a cube that predict takes (.npy), with a picture in false colours (.png)."""
    from orchestrator.datasets._false_colour import write_cubes
    from orchestrator.datasets.prepare import prepare
    from orchestrator.datasets.store import open_prepared

    folder = prepare(name, DataLocations.from_environment(data_root), progress=show_progress)
    for file in write_cubes(open_prepared(folder), to, show_progress):
        click.echo(str(file))
