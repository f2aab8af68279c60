"""`hsfm-sweep weights`: pretrained weights, where they come from and whether they fit."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from orchestrator.cli.options import data_root_option, debug_option, json_option
from orchestrator.cli.printing import console, print_json, show_progress, styled, table
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import WeightsError, unknown
from orchestrator.plan.facts import SourceFile, WeightsStatus


@click.group()
def weights() -> None:
    """Pretrained weights: published checkpoints, by name."""


@weights.command("list")
@data_root_option
@json_option
@debug_option
def list_(data_root: Path | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """List all weights and whether they are at hand."""
    from strategies.backbones._weights import get_spec, list_weights

    locations = DataLocations.from_environment(data_root)
    found = {name: _status(name, locations) for name in list_weights()}
    if as_json:
        print_json([{**_spec(name), "present": s.path is not None, "path": s.path} for name, s in found.items()])
        return
    rows = table("weights", "state", ">MB", "licence", "what it is")
    for name, one in found.items():
        spec = get_spec(name)
        state = styled("done").replace("done", "present") if one.path else "absent"
        rows.add_row(
            name,
            state,
            f"{spec.size_bytes / 1e6:.1f}" if spec.size_bytes else "-",
            spec.licence_weights,
            escape(spec.title),
        )
    out = console()
    out.print(rows)
    for one in found.values():
        if one.path is None:
            out.print(f"  {escape(one.reason)}; to mend it: [bold]{escape(one.remedy)}[/bold]")


@weights.command()
@click.argument("name")
@data_root_option
@json_option
@debug_option
def info(name: str, data_root: Path | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Show where weights come from, their licence, checksum, and what they were pretrained on."""
    one = _status(name, DataLocations.from_environment(data_root))
    data = {
        **_spec(name),
        "present": one.path is not None,
        "path": one.path,
        "reason": one.reason,
        "remedy": one.remedy,
    }
    if as_json:
        print_json(data)
        return
    rows = table("field", "value")
    for key, value in data.items():
        if value not in (None, "", [], ()):
            rows.add_row(key, escape(str(value)))
    console().print(rows)


@weights.command()
@click.argument("names", nargs=-1, required=True)
@data_root_option
@debug_option
def fetch(names: Sequence[str], data_root: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Download weights from their public addresses, with checksums; goes on where it was interrupted."""
    from orchestrator.datasets.fetch import fetch_file
    from strategies.backbones._places import cache_path
    from strategies.backbones._weights import get_spec

    locations = DataLocations.from_environment(data_root)
    for name in names:
        one = _status(name, locations)
        spec = get_spec(name)
        if one.path is None and spec.url is None:
            raise WeightsError(f"weights {name!r} have no address of their own; to get them: {one.remedy}")
        if one.path is None and spec.url is not None:
            source = SourceFile(path=spec.file, sha256=spec.sha256, url=spec.url)
            fetch_file(source, spec.url, cache_path(name, locations.cache), show_progress)
        click.echo(f"{name}: {_status(name, locations).path}")


@weights.command()
@click.argument("name")
@data_root_option
@debug_option
def check(name: str, data_root: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Load weights into their model: every key must fit, none may be left over. Needs torch."""
    one = _status(name, DataLocations.from_environment(data_root))
    if one.path is None:
        raise WeightsError(f"{one.reason}; to mend it: {one.remedy}")
    from strategies.backbones._weights import check as check_weights

    report = check_weights(name, one.path)
    for key, value in asdict(report).items():
        click.echo(f"{key}: {value}")


def _status(name: str, locations: DataLocations) -> WeightsStatus:
    from orchestrator.api_plan import weights_status
    from strategies.backbones._weights import list_weights

    if name not in list_weights():
        raise unknown("weights", name, list_weights(), hint="See `hsfm-sweep weights list`.")
    return weights_status(name, locations)


def _spec(name: str) -> dict[str, object]:
    from strategies.backbones._weights import get_spec

    wanted = (
        "name", "title", "url", "package", "requirement", "file", "sha256", "size_bytes", "parameters", "licence_code",
        "licence_weights", "licence_note", "wavelength_range_nm", "datasets", "sensors", "citation",
    )  # fmt: skip
    spec = asdict(get_spec(name))
    return {key: list(spec[key]) if isinstance(spec[key], tuple) else spec[key] for key in wanted}
