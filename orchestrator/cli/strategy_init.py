"""`hsfm-sweep strategy init` and `check`: a strategy of the user's own, and what the contract says of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from orchestrator.cli.options import data_root_option, debug_option, plugin_option
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError
from orchestrator.plan.choices import strategy_class
from orchestrator.strategy_init import KINDS, write_strategy
from strategies.registry import FAMILIES, load_plugin

if TYPE_CHECKING:
    from strategies.contract import Check


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep strategy init my_network                        my_network.py and test_my_network.py, here
  hsfm-sweep strategy init my_classifier --kind estimator    with scikit-learn instead of a network
  hsfm-sweep strategy init my_network --family in_domain     into the repository, in whose folder you are"""
)
@click.argument("name")
@click.option("--kind", default=KINDS[0], show_default=True, metavar="|".join(KINDS), help="What to start from.")
@click.option(
    "--family", metavar="|".join(FAMILIES), help="Write into this folder of the repository. Default: a plugin file."
)
@click.option(
    "--to",
    type=click.Path(path_type=Path),
    default=".",
    show_default=True,
    help="Folder to write into; with --family, the repository.",
)
@debug_option
def init(name: str, kind: str, family: str | None, to: Path, debug: bool) -> None:  # noqa: ARG001
    """Write a strategy of your own that works at once, with its test; then change it where it says CHANGE."""
    made = write_strategy(name, kind=kind, family=family, to=to)
    for file in made.written:
        click.echo(f"wrote {file}")
    click.echo(f"the strategy is {made.name}; try it:")
    for command in made.next_commands:
        click.echo(f"  {command}")


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep strategy check --plugin my_network.py
  hsfm-sweep strategy check in_domain/unet"""
)
@click.argument("names", nargs=-1)
@plugin_option
@data_root_option
@debug_option
def check(names: Sequence[str], plugins: Sequence[Path], data_root: Path | None, debug: bool) -> int:
    """Check what every strategy promises: shapes, what trains, what a pixel sees, that it learns. Needs torch.

    Checks the strategies named, or those of the plugins.
    """
    wanted = [*names] or [load_plugin(plugin) for plugin in plugins]
    for plugin in plugins:
        load_plugin(plugin)
    if not wanted:
        raise ConfigError("no strategy was given; allowed: names, or files of your own; add --plugin FILE.py")
    locations = DataLocations.from_environment(data_root)
    broken = 0
    for name in wanted:
        strategy_class(name)  # an unknown name is told with the nearest one
        broken += _check_all(name, locations, debug)
    return 1 if broken else 0


def _check_all(name: str, locations: DataLocations, debug: bool) -> int:
    """How many checks a strategy fails; prints each."""
    from orchestrator.api_plan import weights_status
    from strategies.contract import checks_of

    kept = broken = 0
    for one in checks_of(name):
        found = weights_status(one.weights, locations) if one.weights else None
        if found is not None and found.path is None:
            click.echo(f"left out  {one.sentence}: {found.reason}; to mend it: {found.remedy}")
            continue
        problem = _problem(one, found.path if found else None, debug)
        kept, broken = kept + (not problem), broken + bool(problem)
        click.echo(f"NOT KEPT  {one.sentence}: {problem}" if problem else f"kept      {one.sentence}")
    click.echo(f"{name} keeps {kept} of {kept + broken} promises")
    return broken


def _problem(one: Check, weights_path: str | None, debug: bool) -> str:
    """Why a check does not hold, or an empty text."""
    from strategies.contract import ContractError

    try:
        one(weights_path)
    except ContractError as error:
        return str(error)
    except Exception as error:  # whatever a user's strategy raises is what the user wants to read
        if debug:
            raise
        return f"{type(error).__name__}: {error} (--debug shows where)"
    return ""
