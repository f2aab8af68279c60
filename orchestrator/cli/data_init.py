"""`hsfm-sweep data init`: write the YAML of a user's own data set from what a folder holds."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import debug_option


@click.command(
    epilog="""\b
Example:
  hsfm-sweep data init ~/cubes        then answer what it asks for, in ~/cubes/dataset.yaml"""
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--print", "print_only", is_flag=True, help="Print the YAML instead of writing it.")
@debug_option
def init(folder: Path, print_only: bool, debug: bool) -> None:  # noqa: ARG001
    """Describe your own data as one YAML file, dataset.yaml in FOLDER; says what only you can know.

    FOLDER holds a single scene, or cubes with label images. A grid names the file under `datasets`.
    """
    from orchestrator.datasets.init import draft, write_draft

    found = draft(folder)
    click.echo(found.text if print_only else f"wrote {write_draft(folder, found.text)}", nl=not print_only)
    for question in found.questions:
        click.echo(f"to answer: {question}", err=True)
