"""`hsfm-sweep weights`: pretrained weights, where they come from and whether they fit."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import click
from rich.markup import escape

from orchestrator.cli.options import data_root_option, debug_option, json_option
from orchestrator.cli.printing import console, print_json, styled, table
from orchestrator.cli.weights_check import check, convert
from orchestrator.cli.weights_fetch import fetch, imitate
from orchestrator.cli.weights_names import check_name, status_of
from orchestrator.datasets.locations import DataLocations

SHOWN = (
    "name", "title", "url", "huggingface", "package", "requirement", "file", "sha256", "size_bytes", "parameters",
    "licence_code", "licence_weights", "licence_note", "consent", "wavelength_unit", "wavelength_range_nm",
    "min_bands", "max_bands", "stem", "normalisation", "datasets", "sensors", "citation",
)  # fmt: skip


@click.group()
def weights() -> None:
    """Pretrained weights: published checkpoints, by name."""


for command in (fetch, check, convert, imitate):
    weights.add_command(command)


@weights.command("list")
@data_root_option
@json_option
@debug_option
def list_(data_root: Path | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """List all weights, whether they are at hand, and which licences must be accepted."""
    from strategies.backbones._specs import get_spec, list_weights

    locations = DataLocations.from_environment(data_root)
    found = {name: status_of(name, locations) for name in list_weights()}
    if as_json:
        print_json([{**_data(name), "present": s.path is not None, "path": s.path} for name, s in found.items()])
        return
    rows = table("weights", "state", ">MB", "licence", "to accept", "what it is")
    for name, one in found.items():
        spec = get_spec(name)
        rows.add_row(
            name,
            styled("done").replace("done", "present") if one.path else "absent",
            f"{spec.size_bytes / 1e6:.1f}" if spec.size_bytes else "-",
            escape(licence(spec.licence_weights)),
            spec.consent or "-",
            escape(spec.title),
        )
    out = console()
    out.print(rows)
    if any(one.path is None for one in found.values()):
        out.print(
            "  what is absent comes by [bold]hsfm-sweep weights fetch NAME[/bold]; [bold]hsfm-sweep weights info NAME"
            "[/bold] says where a file is looked for"
        )


@weights.command()
@click.argument("name")
@data_root_option
@json_option
@debug_option
def info(name: str, data_root: Path | None, as_json: bool, debug: bool) -> None:  # noqa: ARG001
    """Show where weights come from, their licence, checksum, and what they were pretrained on."""
    check_name(name)
    one = status_of(name, DataLocations.from_environment(data_root))
    data = {
        **_data(name),
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
            shown = licence(str(value)) if key.startswith("licence_") else value
            rows.add_row(key, escape(str(shown)))
    console().print(rows)


def licence(stated: str) -> str:
    """A licence in words."""
    from strategies.backbones._spec import NOT_STATED

    return "not stated" if stated == NOT_STATED else stated


def _data(name: str) -> dict[str, object]:
    from strategies.backbones._specs import get_spec

    spec = asdict(get_spec(name))
    found = {key: list(spec[key]) if isinstance(spec[key], tuple) else spec[key] for key in SHOWN}
    return {**found, "can_be_imitated": spec["manifest"] is not None}
