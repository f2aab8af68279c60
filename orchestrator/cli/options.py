"""Options that verbs share, and what they resolve to."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import click

from orchestrator.config import GridConfig, list_grids, load_grid
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, unknown
from strategies.registry import load_plugin

Command = TypeVar("Command", bound=Callable[..., Any])
DEFAULT_OUT = "hsfm_sweeps"

debug_option = click.option("--debug", is_flag=True, help="Show the traceback of an error.")
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON of a stable, documented form.")
data_root_option = click.option(
    "--data-root",
    type=click.Path(path_type=Path),
    help="Folder with original data files; only read. Default: the environment's HSFM_DATA_ROOT.",
)
out_option = click.option(
    "--out",
    type=click.Path(path_type=Path),
    default=DEFAULT_OUT,
    show_default=True,
    help="Folder of all sweeps; each has a folder of its grid's name in it.",
)
tracking_uri_option = click.option(
    "--tracking-uri",
    metavar="URI",
    help="MLflow store. Default: MLFLOW_TRACKING_URI, else an SQLite file in the sweep's folder.",
)
accept_license_option = click.option(
    "--accept-license",
    "accepted",
    multiple=True,
    metavar="NAME",
    help="Use weights whose licence is not permissive or not stated: you have read it. Can be repeated.",
)
plugin_option = click.option(
    "--plugin",
    "plugins",
    multiple=True,
    type=click.Path(path_type=Path),
    metavar="FILE.py",
    help="A strategy of your own, as one Python file (it is run: give trusted files only). Can be repeated.",
)


@dataclass(frozen=True, kw_only=True)
class SweepRequest:
    """What the shared options of a sweep's verbs ask for."""

    grid: GridConfig
    locations: DataLocations
    sweep_root: Path
    tracking_uri: str | None
    plugins: tuple[Path, ...]

    @property
    def folder(self) -> Path:
        """The sweep's own folder."""
        return self.sweep_root / self.grid.name


def sweep_options(command: Command) -> Command:
    """Add the options of a verb that works on one sweep: grid, overrides, places, and licences that are accepted."""
    return click.argument("overrides", nargs=-1, metavar="[KEY=VALUE]...")(
        accept_license_option(place_options(command))
    )


def place_options(command: Command) -> Command:
    """Add the options that say which sweep and where things lie, for verbs that have arguments of their own."""
    for option in reversed(
        (
            click.option(
                "--grid", metavar="NAME|FILE", help=f"Packaged grid ({', '.join(list_grids())}) or YAML file."
            ),
            data_root_option,
            out_option,
            tracking_uri_option,
            plugin_option,
            debug_option,
        )
    ):
        command = option(command)
    return command


def sweep_request(
    *,
    grid: str | None,
    overrides: Sequence[str],
    data_root: Path | None,
    out: Path,
    tracking_uri: str | None,
    plugins: Sequence[Path],
    debug: bool,  # noqa: ARG001 - read by `main` from the arguments
    accepted: Sequence[str] = (),
) -> SweepRequest:
    """What the options of `sweep_options` mean.

    Raises:
        ConfigError: no grid, one that is not valid, or a licence that no weights have.
        StrategyError: a plugin that cannot be loaded.
    """
    if grid is None:
        names = ", ".join(list_grids())
        raise ConfigError(f"no grid was given; allowed: one of {names}, or a YAML file; add --grid NAME")
    load_plugins(plugins)
    return SweepRequest(
        grid=load_grid(grid, overrides),
        locations=DataLocations.from_environment(data_root, known_licences(accepted)),
        sweep_root=out.expanduser().absolute(),
        tracking_uri=tracking_uri,
        plugins=tuple(plugin.resolve() for plugin in plugins),
    )


def known_licences(accepted: Sequence[str]) -> Sequence[str]:
    """The names given to `--accept-license`.

    Raises:
        ConfigError: a name that no weights ask for.
    """
    if accepted:
        from strategies.backbones._specs import all_specs

        known = {spec.consent for spec in all_specs().values() if spec.consent}
        for name in accepted:
            if name not in known:
                raise unknown("licence", name, known, hint="See `hsfm-sweep weights list`.")
    return accepted


def load_plugins(plugins: Sequence[Path]) -> None:
    """Register the strategies of the given files."""
    for plugin in plugins:
        load_plugin(plugin)
