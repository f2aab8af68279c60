"""`hsfm-sweep export`: a trained model as plain files."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
from rich.markup import escape

from orchestrator.cli.options import json_option, load_plugins, sweep_options
from orchestrator.cli.predict import dataset_option, model_option, model_places, print_model
from orchestrator.cli.printing import console, print_json


@click.command(
    epilog="""\b
A model that cannot be written as ONNX is exported all the same, and the reason is told.
\b
Examples:
  hsfm-sweep export --grid quick --model best --to winner
  hsfm-sweep predict --model winner scene.hdr --to maps"""
)
@sweep_options
@model_option
@dataset_option
@click.option("--to", required=True, type=click.Path(path_type=Path), help="Folder for the model.")
@click.option("--no-onnx", is_flag=True, help="Leave ONNX out.")
@click.option("--overwrite", is_flag=True, help="Replace an export that is there.")
@json_option
def export(
    model: str,
    dataset: str | None,
    to: Path,
    no_onnx: bool,
    overwrite: bool,
    as_json: bool,
    overrides: Sequence[str],
    plugins: Sequence[Path],
    **options: Any,
) -> None:
    """Write a trained model as plain files: config.json, safetensors, a README, and ONNX where the model allows it.

    The ONNX graph takes raw numbers and is compared with the original on real pixels.
    """
    load_plugins(plugins)
    from orchestrator.prediction.exporting import export_model
    from orchestrator.prediction.models import find_model

    found = find_model(model, dataset=dataset, overrides=overrides, **model_places(options))
    record = export_model(found, to, onnx=not no_onnx, overwrite=overwrite, plugins=[p.resolve() for p in plugins])
    if as_json:
        print_json(record)
        return
    out = console()
    print_model(found)
    for file in record["files"]:
        out.print(f"wrote {escape(str(Path(record['folder']) / file['name']))}", soft_wrap=True)
    graph = record["onnx"]
    if not graph["file"]:
        out.print(f"no ONNX: {escape(graph['reason'])}", soft_wrap=True)
        return
    out.print(
        f"ONNX (opset {graph['opset']}, {graph['size']}) against the original on {escape(graph['window'])}: "
        f"logits differ by at most {graph['max_difference']:.2g}, "
        f"labels in {graph['labels_unequal']} of {graph['pixels_compared']} pixels",
        soft_wrap=True,
    )
    if graph["reason"]:
        out.print(f"no graph {escape(graph['reason'])}", soft_wrap=True)
