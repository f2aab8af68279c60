"""`hsfm-sweep run`, which is also `hsfm-sweep --grid G`: run a sweep or continue it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click
from rich.markup import escape

from orchestrator.cli.last_words import last_words
from orchestrator.cli.options import sweep_options, sweep_request
from orchestrator.cli.printing import console
from orchestrator.cli.same_command import same_sweep

if TYPE_CHECKING:
    from rich.console import Console

    from orchestrator.execution.outcome import SweepOutcome


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep --grid quick
  hsfm-sweep --grid quick label_budgets=[0.05,0.1,0.25]      only the new cells run
  hsfm-sweep --grid my.yaml train.steps=1000 'strategies=[in_domain/unet, {name: cross_domain/spectf, regime: lora}]'"""
)
@sweep_options
def run(**options: Any) -> int:
    """Run a sweep, or continue it: what the ledger has finished is never run again.

    KEY=VALUE changes a setting of the grid; the value is YAML, so lists and mappings work. It can be killed at any
    moment: the same command goes on.
    """
    return run_and_tell(options)


def run_and_tell(options: Mapping[str, Any], *, retry: str | None = None) -> int:
    """Run or continue a sweep, print how it ended; the exit status. `retry`: see `api.run`."""
    request = sweep_request(**options)
    from orchestrator.api import run_sweep

    terminal = console()
    with last_words():
        outcome = run_sweep(
            request.grid,
            request.locations,
            request.sweep_root,
            request.tracking_uri,
            retry=retry,
            plugins=tuple(str(plugin) for plugin in request.plugins),
            console=terminal,
        )
    _say_how_it_ended(outcome, terminal, same_sweep("ui", options))
    return outcome.exit_code


def _say_how_it_ended(outcome: SweepOutcome, terminal: Console, ui_command: str) -> None:
    """What is done, what is not and why, and where to look."""
    for title, lines in (("failed", outcome.failed), ("blocked", outcome.blocked), ("note", outcome.notes)):
        for line in lines:
            terminal.print(f"{title}: {escape(line)}", soft_wrap=True)
    if outcome.stop_reason:
        terminal.print(f"stopped: {escape(outcome.stop_reason)}", soft_wrap=True)
    if outcome.is_interrupted:
        terminal.print("interrupted; the same command continues where it stopped")
    trained = "" if outcome.started_ray else "; nothing was left to train"
    cells = "cell is" if outcome.finished == 1 else "cells are"
    terminal.print(f"{outcome.finished} {cells} finished{trained}")
    terminal.print(f"page:   {escape(str(outcome.report))}", soft_wrap=True)
    terminal.print(f"MLflow: {escape(ui_command)}", soft_wrap=True)
