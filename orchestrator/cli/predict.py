"""`hsfm-sweep predict`: label maps of new cubes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from orchestrator.cli.options import json_option, load_plugins, place_options
from orchestrator.cli.printing import console, duration, print_json, show_progress, table

if TYPE_CHECKING:
    from orchestrator.prediction.models import FoundModel

SCHEMA = 1
OVERRIDE = re.compile(r"[\w.]+=")

model_option = click.option(
    "--model",
    required=True,
    metavar="best|CELL|KEY|FOLDER|URI",
    help="best = the cell with the best mean validation score; or a cell's id or name, a final run's key, a folder "
    "with config.json, or an MLflow URI (models:/, runs:/). The last two need no --grid.",
)
dataset_option = click.option(
    "--dataset", metavar="NAME", help="Data set of the best cell, where the sweep has several."
)


@click.command(
    epilog="""\b
Each cube gets a folder in --to: labels (original class ids), confidence, picture.png and prediction.json.
GeoTIFF and ENVI cubes give GeoTIFF and ENVI maps with the same place on the ground, others .npy.
\b
Examples:
  hsfm-sweep predict --grid quick --model best scene.hdr --to maps
  hsfm-sweep predict --model exported/ flight_1.tif flight_2.tif --to maps --scale 10000"""
)
@click.argument("cubes", nargs=-1, required=True, metavar="CUBE... [KEY=VALUE]...")
@place_options
@model_option
@dataset_option
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder for the results.")
@click.option("--variable", metavar="NAME", help="Array of a .mat or HDF5 file, where it holds several of three axes.")
@click.option(
    "--band-axis", type=click.IntRange(0, 2), help="Axis of the bands, where more than one has a fitting number."
)
@click.option("--scale", type=float, help="Multiply the cubes' numbers by this; for cubes in another unit.")
@click.option(
    "--ignore-wavelengths", is_flag=True, help="Predict though the band centres do not fit; kept as a warning."
)
@click.option("--overwrite", is_flag=True, help="Replace results that are there.")
@json_option
def predict(
    cubes: tuple[str, ...], model: str, dataset: str | None, as_json: bool, plugins: Sequence[Path], **options: Any
) -> None:
    """Predict label maps of new cubes with a trained model: ENVI, GeoTIFF, .mat or .npy, of any height and width.

    Bands, wavelengths and the size of the numbers are compared with the model's before anything is predicted.
    """
    load_plugins(plugins)
    overrides, files = split_overrides(cubes)
    if not files:
        raise click.UsageError("missing argument 'CUBE...'")
    from orchestrator.prediction import find_model
    from orchestrator.prediction.predicting import check_cubes, predict_checked

    found = find_model(model, dataset=dataset, overrides=overrides, **model_places(options))
    names = ("to", "variable", "band_axis", "scale", "ignore_wavelengths", "overwrite")
    checked = check_cubes(files, found, **{name: options[name] for name in names})
    saved = found.load()
    records = [predict_checked(one, found, saved, show_progress).record for one in checked]
    if as_json:
        print_json({"schema": SCHEMA, "predictions": records})
        return
    print_model(found)
    for record in records:
        print_prediction(record)


def split_overrides(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """Settings of the grid (KEY=VALUE, unless a file has that name), and the rest."""
    overrides = [a for a in arguments if OVERRIDE.match(a) and not Path(a).exists()]
    return overrides, [a for a in arguments if a not in overrides]


def model_places(options: dict[str, Any]) -> dict[str, Any]:
    """Where `find_model` looks, from the options of `place_options`."""
    return {
        "grid": options["grid"],
        "data_root": options["data_root"],
        "root": options["out"],
        "tracking_uri": options["tracking_uri"],
    }


def print_model(found: FoundModel) -> None:
    """Which model it is and why."""
    out = console()
    out.print(f"[bold]model {found.key}[/bold] ({escape(found.facts['strategy'])} on {escape(found.facts['dataset'])})")
    out.print(f"  from {escape(found.source)}", soft_wrap=True)


def print_prediction(record: dict[str, Any]) -> None:
    """What was predicted, what was noticed, and the files."""
    out, cube = console(), record["cube"]
    out.print(
        f"\n[bold]{escape(cube['path'])}[/bold]: {cube['height']} x {cube['width']} px, {cube['bands']} bands "
        f"(axis {cube['band_axis']} of {'x'.join(map(str, cube['stored_shape']))}), {duration(record['seconds'])}",
        soft_wrap=True,
    )
    for check in record["checks"]:
        style = "yellow" if check["outcome"] == "warning" else "dim"
        out.print(f"  [{style}]{check['outcome']:8}{check['check']}: {escape(check['text'])}[/{style}]", soft_wrap=True)
    shares = table(">id", "class", ">pixels", ">share")
    for one in record["classes"]:
        if one["pixels"]:
            shares.add_row(str(one["id"]), escape(one["name"]), str(one["pixels"]), f"{one['share']:.1%}")
    if record["no_data"]["pixels"]:
        shares.add_row(str(record["no_data"]["id"]), "no data", str(record["no_data"]["pixels"]), "")
    out.print(shares)
    out.print(f"confidence: {escape(record['confidence'])}", soft_wrap=True)
    for file in record["files"]:
        out.print(f"wrote {escape(file)}", soft_wrap=True)
