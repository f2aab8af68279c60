"""`hsfm-sweep doctor`: look at everything that a sweep needs, and print the command that mends each finding."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.markup import escape

from orchestrator.cli.options import json_option, sweep_options, sweep_request
from orchestrator.cli.printing import console, print_json, table
from orchestrator.cli.same_command import sweep_words
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError

if TYPE_CHECKING:
    from orchestrator.upkeep.findings import Finding, Subject

STYLES = {"ok": "green", "warning": "yellow", "failure": "red"}


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep doctor                       this machine
  hsfm-sweep doctor --grid quick          and everything that this sweep needs
  hsfm-sweep doctor --grid quick --deep   and Ray, started or joined, node by node (about a minute)"""
)
@sweep_options
@click.option("--deep", is_flag=True, help="Also start or join Ray, and look at versions and storage from every node.")
@json_option
def doctor(deep: bool, as_json: bool, **options: Any) -> int:
    """Check versions, storage by writing and reading, MLflow, devices, disk, data and weights; say what mends it.

    Exit status 1 where something would stop the sweep. Passwords and tokens are never printed.
    """
    subject = _subject(options)
    from orchestrator.upkeep.examining import examine
    from orchestrator.upkeep.findings import to_data

    found = examine(subject, is_deep=deep)
    if as_json:
        print_json(to_data(found, subject, deep=deep))
    else:
        print_findings(found, console())
    return 1 if any(one.result == "failure" for one in found) else 0


def print_findings(found: Sequence[Finding], out: Console) -> None:
    """One line a check; below it the command that mends it."""
    rows = table("", "check", "found")
    for one in found:
        mend = f"\n[bold]{escape(one.mend)}[/bold]" if one.mend else ""
        rows.add_row(f"[{STYLES[one.result]}]{one.result}[/]", escape(one.check), escape(one.found) + mend)
    out.print(rows)
    counts = {result: sum(one.result == result for one in found) for result in STYLES}
    warnings = "1 warning" if counts["warning"] == 1 else f"{counts['warning']} warnings"
    failures = "1 failure" if counts["failure"] == 1 else f"{counts['failure']} failures"
    out.print(f"\n{counts['ok']} ok, {warnings}, {failures}")


def _subject(options: Mapping[str, Any]) -> Subject:
    """A grid's sweep; the machine alone where no grid is named."""
    from orchestrator.upkeep.findings import Subject

    if options["grid"] is None:
        if options["overrides"]:
            raise ConfigError(
                f"settings ({options['overrides'][0]}) change a grid, but none was given; add --grid NAME"
            )
        return Subject(
            grid=None,
            locations=DataLocations.from_environment(options["data_root"]),
            sweep_root=options["out"].expanduser().absolute(),
            tracking_uri=options["tracking_uri"],
        )
    request = sweep_request(**dict(options))
    return Subject(
        grid=request.grid,
        locations=request.locations,
        sweep_root=request.sweep_root,
        tracking_uri=request.tracking_uri,
        arguments=sweep_words(options),
    )
