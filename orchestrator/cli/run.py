"""`hsfm-sweep run`, which is also `hsfm-sweep --grid G`: run a sweep or continue it."""

from __future__ import annotations

from typing import Any

import click

from orchestrator.cli.options import sweep_options, sweep_request


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
    request = sweep_request(**options)
    from orchestrator.api import run_sweep

    outcome = run_sweep(
        request.grid,
        request.locations,
        request.sweep_root,
        request.tracking_uri,
        plugins=tuple(str(plugin) for plugin in request.plugins),
    )
    return outcome.exit_code
