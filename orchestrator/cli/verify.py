"""`hsfm-sweep verify`: do we reach what was published? A report to paste, for whoever has the data."""

from __future__ import annotations

import platform
from collections.abc import Sequence
from pathlib import Path

import click
from rich.console import Console

from orchestrator import __version__
from orchestrator.cli.last_words import last_words
from orchestrator.cli.options import data_root_option, debug_option, json_option, out_option, tracking_uri_option
from orchestrator.cli.printing import console, print_json
from orchestrator.cli.reproduce import TITLES, reproduced_to_data, with_epochs
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError
from orchestrator.reference import GENERATED, METRICS, find_row
from orchestrator.reproduction import (
    TOLERANCE_POINTS,
    VERIFIED_ROWS,
    Reproduced,
    reproduction_grid,
    row_states,
    run_rows_again,
)

SWEEP = "verify-hs3bench"


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep verify hs3bench --data-root ~/data          train three published rows; a report to paste
  hsfm-sweep verify hs3bench --epochs 20                 shorter: shows that everything works, passes nothing"""
)
@click.argument("benchmark", type=click.Choice(["hs3bench"]))
@click.option("--epochs", type=click.IntRange(1), help="Train so many epochs instead of the published number.")
@data_root_option
@out_option
@tracking_uri_option
@json_option
@debug_option
def verify(
    benchmark: str,  # noqa: ARG001 - there is one
    epochs: int | None,
    data_root: Path | None,
    out: Path,
    tracking_uri: str | None,
    as_json: bool,
    debug: bool,  # noqa: ARG001 - read by `main` from the arguments
) -> int:
    """Train U-Net, RU-Net and DL3+(BB) on HyKo2 as published, and say whether mIoU is within 3 points.

    Exit status 0: all three are; 1: one is not; 2: data or weights are absent, nothing was started. It can be killed
    and continued with the same command.
    """
    locations = DataLocations.from_environment(data_root)
    rows = [find_row(name) for name in VERIFIED_ROWS]
    for state in row_states(locations, rows):
        if state.is_generated:
            raise ConfigError(
                f"{state.row.dataset} at hand is {GENERATED}; allowed: the original files; name their folder with "
                "--data-root"
            )
    name = SWEEP if epochs is None else f"{SWEEP}-{epochs}-epochs"
    settings = with_epochs((), epochs)
    grid = reproduction_grid(rows, name, settings)
    shown = Console(stderr=True) if as_json else console()
    root = out.expanduser().absolute()
    with last_words():
        found = run_rows_again(rows, grid, locations, root, tracking_uri, overrides=settings, console=shown)
    passed = has_passed(found, epochs)
    if as_json:
        print_json({"schema": 1, "passed": passed, "epochs": epochs, "rows": [reproduced_to_data(o) for o in found]})
    else:
        click.echo(verification_report(found, epochs))
    return 0 if passed else 1


def has_passed(found: Sequence[Reproduced], epochs: int | None) -> bool:
    """Whether every row is within the tolerance, at the published number of epochs, on original data."""
    return epochs is None and all(one.is_within for one in found)


def verification_report(found: Sequence[Reproduced], epochs: int | None) -> str:
    """The report in Markdown, without paths or names of the machine."""
    epochs_told = "the published number of epochs" if epochs is None else f"{epochs} epochs INSTEAD of the published"
    lines = [
        f"## hsfm-sweep {__version__}: verify hs3bench: {'PASSED' if has_passed(found, epochs) else 'NOT PASSED'}",
        "",
        f"Rule: mIoU within ±{TOLERANCE_POINTS:g} points of the published value, by the papers' convention, seed 42, "
        f"{epochs_told}.",
        "",
        "| row | score | ours | published | difference | within |",
        "|---|---|---|---|---|---|",
    ]
    for one in found:
        lines += _lines(one)
    devices = ", ".join(sorted({one.device or "unknown" for one in found}))
    digests = ", ".join(sorted({f"{one.row.dataset} {one.digest or 'unknown'}" for one in found}))
    lines += [
        "",
        f"Python {platform.python_version()}, {_torch()}; device: {devices}; "
        f"data: {digests}; runs: {', '.join(one.key or '-' for one in found)}",
        f"Published: {found[0].row.source.title}, {found[0].row.source.address}" if found else "",
    ]
    return "\n".join(lines)


def _lines(one: Reproduced) -> list[str]:
    if one.state != "complete":
        return [f"| {one.row.name} | mIoU | {one.state} | {one.row.values['miou']:.2f} | - | no |"]
    lines = []
    for name in METRICS:
        difference = one.difference(name)
        told = GENERATED if one.is_generated else "-" if difference is None else f"{difference:+.2f}"
        within = ("yes" if one.is_within else "no") if name == "miou" else ""
        ours = f"{one.ours[name]:.2f}" if name in one.ours else "-"
        lines.append(f"| {one.row.name} | {TITLES[name]} | {ours} | {one.row.values[name]:.2f} | {told} | {within} |")
    return lines


def _torch() -> str:
    from importlib.metadata import version

    return f"torch {version('torch')}"
