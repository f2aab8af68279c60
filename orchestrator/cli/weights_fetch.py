"""`hsfm-sweep weights fetch` and `imitate`: bring a published file, or make a synthetic one in its layout."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import click

from orchestrator.cli.options import accept_license_option, data_root_option, debug_option, known_licences
from orchestrator.cli.printing import show_progress, size
from orchestrator.cli.weights_names import check_name
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, WeightsError


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep weights fetch spectf_v010
  hsfm-sweep weights fetch NAME --from Downloads/model.pth       a file that you got yourself, checked first"""
)
@click.argument("names", nargs=-1, required=True)
@click.option(
    "--from", "source", type=click.Path(path_type=Path), help="Your own copy of the file; it is linked or copied."
)
@accept_license_option
@data_root_option
@debug_option
def fetch(
    names: Sequence[str],
    source: Path | None,
    accepted: Sequence[str],
    data_root: Path | None,
    debug: bool,  # noqa: ARG001
) -> None:
    """Download weights from their public addresses, with checksums; goes on where it was interrupted."""
    from orchestrator.upkeep.fetch_weights import fetch_weights

    for name in names:
        check_name(name)
    if source is not None and len(names) > 1:
        raise ConfigError(f"--from gives one file for {len(names)} names; allowed: one name; fetch them one by one")
    locations = DataLocations.from_environment(data_root, known_licences(accepted))
    for name in names:
        click.echo(f"{name}: {fetch_weights(name, locations, source=source, progress=show_progress)}")


@click.command()
@click.argument("names", nargs=-1, required=True)
@click.option("--to", type=click.Path(path_type=Path), help="Folder for the files. Default: that of init synthetic.")
@debug_option
def imitate(names: Sequence[str], to: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Write random numbers in the exact layout of published files, to prove the loading path. Needs torch."""
    from strategies._checks import StrategyError
    from strategies.backbones._specs import get_spec
    from strategies.backbones._synthetic import synthetic_path, write_synthetic

    cache = DataLocations.from_environment().cache
    for name in names:
        check_name(name)
        try:
            path = synthetic_path(get_spec(name), cache)
            path = path if to is None else to / path.name
            write_synthetic(get_spec(name), path)
        except StrategyError as error:
            raise WeightsError(str(error)) from error
        click.echo(f"{name}: {path} ({size(path.stat().st_size)} of random numbers; init synthetic uses them)")
