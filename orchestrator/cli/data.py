"""`hsfm-sweep data`: which data sets there are, and how to get, prepare and check them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from orchestrator.cli.data_cubes import cubes
from orchestrator.cli.data_imitate import imitate
from orchestrator.cli.data_init import init
from orchestrator.cli.options import data_root_option, debug_option, json_option, load_plugins, plugin_option
from orchestrator.cli.printing import console, print_json, show_progress, styled, table
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.registry import list_datasets, status
from orchestrator.plan.facts import DatasetFacts, DatasetStatus


@click.group()
def data() -> None:
    """Data sets: packaged ones by name, your own by the path of a YAML file."""


data.add_command(init)
data.add_command(imitate)
data.add_command(cubes)


@data.command("list")
@data_root_option
@json_option
@debug_option
def list_(data_root: Path | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """List all data sets and whether they are at hand."""
    locations = DataLocations.from_environment(data_root)
    found = [status(name, locations) for name in list_datasets()]
    if as_json:
        print_json([_status_to_data(one) for one in found])
        return
    rows = table(
        "data set", "state", ">bands", ">classes", ">images", "quantity", "split", "domain", "labels", "what it is"
    )
    for one in found:
        facts = one.facts
        rows.add_row(
            facts.name,
            _state(one),
            str(facts.num_bands),
            str(facts.num_classes),
            str(facts.num_images),
            facts.quantity.replace("_", " "),
            facts.split if facts.folds == 1 else f"{facts.split}, {facts.folds} folds",
            facts.domain,
            facts.labels,
            escape(facts.title),
        )
    out = console()
    out.print(rows)
    for one in found:
        if one.digest is None and not one.files_present:
            out.print(f"  {one.facts.name}: {escape(one.reason)}; to mend it: [bold]{escape(one.remedy)}[/bold]")


@data.command()
@click.argument("name")
@data_root_option
@json_option
@debug_option
def info(name: str, data_root: Path | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Show a data set's datasheet: bands, wavelengths and where they come from, classes, splits, licence, files."""
    one = status(name, DataLocations.from_environment(data_root))
    if as_json:
        print_json(_status_to_data(one))
        return
    rows = table("field", "value")
    for key, value in _status_to_data(one).items():
        if key in ("wavelengths_nm", "fwhm_nm") and value:
            rows.add_row(key, f"{len(value)} bands, {min(value):g} to {max(value):g}")
        elif key == "class_colours":
            shown = (
                f"[{colour}]\u25a0[/] {escape(of)}" for colour, of in zip(value, one.facts.class_names, strict=False)
            )
            rows.add_row(key, ", ".join(shown)) if value else None
        elif key == "files":
            for file in value:
                rows.add_row("file", escape(f"{file['path']}  {file['url'] or ''}"))
        elif value not in (None, "", []) and (key, value) != ("labelled_pixels", 0):  # 0 = nobody counted
            rows.add_row(key, escape(", ".join(map(str, value)) if isinstance(value, list) else str(value)))
    console().print(rows)


@data.command()
@click.argument("names", nargs=-1, required=True)
@data_root_option
@debug_option
def fetch(names: Sequence[str], data_root: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Download original files from their public addresses, with checksums; goes on where it was interrupted."""
    from orchestrator.datasets.fetch import fetch as fetch_dataset

    locations = DataLocations.from_environment(data_root)
    for name in names:
        click.echo(f"{name}: {fetch_dataset(name, locations, progress=show_progress)}")


@data.command()
@click.argument("names", nargs=-1, required=True)
@data_root_option
@debug_option
def prepare(names: Sequence[str], data_root: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Read original files once, check them, and make the memory-mapped store that runs read."""
    from orchestrator.datasets.prepare import prepare as prepare_dataset

    locations = DataLocations.from_environment(data_root)
    for name in names:
        click.echo(f"{name}: {prepare_dataset(name, locations, progress=show_progress)}")


@data.command(
    epilog="""\b
Examples:
  hsfm-sweep data audit indian_pines --strategy in_domain/unet
  hsfm-sweep data audit indian_pines --split random --labels '{k_shot: 5}'"""
)
@click.argument("name")
@click.option("--labels", default="0.05", show_default=True, help="Label budget: a fraction or '{k_shot: N}'.")
@click.option("--split", default="default", show_default=True, help="default (the data set's own), block or random.")
@click.option("--selection", default="auto", show_default=True, help="Where validation labels come from.")
@click.option("--fold", type=int, default=0, show_default=True, help="Cross-validation fold.")
@click.option("--seed", type=int, default=0, show_default=True, help="Fixes the labelled subset.")
@click.option("--strategy", "strategies", multiple=True, help="Whose receptive field to audit. Default: 1 pixel.")
@data_root_option
@plugin_option
@json_option
@debug_option
def audit(
    name: str, strategies: Sequence[str], plugins: Sequence[Path], data_root: Path | None, as_json: bool, **task: Any
) -> None:
    """Show how far training reaches into test: overlaps under a strategy's receptive field, labels a class and side."""
    load_plugins(plugins)
    from orchestrator.cli.data_audit import audits

    found = audits(name, strategies, DataLocations.from_environment(data_root), **task)
    if as_json:
        print_json([{"strategy": who, **report.to_json()} for who, report in found])
        return
    for who, report in found:
        click.echo(f"{who}: {report.sentence()}")
    for near in found[0][1].near_images:
        click.echo(f"neighbours in time: {near.sentence()}")


def _state(one: DatasetStatus) -> str:
    if one.digest is not None:
        return styled("done").replace("done", "prepared")
    return "present" if one.files_present else "[magenta]absent[/magenta]"


def _status_to_data(one: DatasetStatus) -> dict[str, Any]:
    return {
        **_facts_to_data(one.facts),
        "digest": one.digest,
        "files_present": one.files_present,
        "reason": one.reason,
        "remedy": one.remedy,
    }


def _facts_to_data(facts: DatasetFacts) -> dict[str, Any]:
    return {key: list(value) if isinstance(value, tuple) else value for key, value in asdict(facts).items()}
