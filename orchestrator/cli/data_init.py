"""`hsfm-sweep data init`: write the YAML of a user's own data set from what a folder holds."""

from __future__ import annotations

from pathlib import Path

import click

from orchestrator.cli.options import debug_option
from orchestrator.errors import ConfigError


@click.command(
    epilog="""\b
Example:
  hsfm-sweep data init ~/cubes --to cubes.yaml        then answer what it asks for, in the file"""
)
@click.argument("folder", type=click.Path(path_type=Path))
@click.option("--to", type=click.Path(path_type=Path), help="File to write. Default: print it.")
@debug_option
def init(folder: Path, to: Path | None, debug: bool) -> None:  # noqa: ARG001
    """Describe your own data as one YAML file, from what is found in FOLDER; says what only you can know."""
    from orchestrator.datasets.init import describe_folder

    text, questions = describe_folder(folder)
    if to is None:
        click.echo(text)
    elif to.exists():
        raise ConfigError(f"file {to} exists; allowed: a new file; choose another with --to, or remove it")
    else:
        try:
            to.write_text(text, "utf-8")
        except OSError as error:
            raise ConfigError(f"file {to} cannot be written ({error.strerror}); choose another with --to") from error
        click.echo(f"wrote {to}")
    for question in questions:
        click.echo(f"to answer: {question}", err=True)
