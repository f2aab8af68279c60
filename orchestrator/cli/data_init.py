"""`hsfm-sweep data init`: write the YAML of a user's own data set from what a folder holds."""

from __future__ import annotations

import shlex
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
    from orchestrator.datasets.init import FILE_NAME, draft, write_draft

    found = draft(folder)
    if print_only:
        click.echo(found.text, nl=False)
        file = folder / FILE_NAME
    else:
        file = write_draft(folder, found.text)
        click.echo(f"wrote {file}")
    for note in found.notes:
        click.echo(note, err=True)
    for line, question in zip(found.lines, found.questions, strict=True):
        click.echo(f"to answer in line {line}: {question}", err=True)
    if not print_only:
        click.echo(f"{'answer these in the file, then' if found.questions else 'nothing is left to answer;'} see it:")
        click.echo(f"  hsfm-sweep data info {shlex.quote(str(file))}")
        click.echo(f"  hsfm-sweep data audit {shlex.quote(str(file))}")
