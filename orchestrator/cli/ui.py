"""`hsfm-sweep ui`: MLflow's own user interface on a sweep, on this machine only."""

from __future__ import annotations

import subprocess
from typing import Any

import click

from orchestrator.cli.options import SweepRequest, sweep_options, sweep_request

DEFAULT_PORT = 5000


@click.command(
    epilog="""\b
Examples:
  hsfm-sweep ui --grid quick
  hsfm-sweep ui --grid quick --port 5001"""
)
@sweep_options
@click.option(
    "--port", type=click.IntRange(1, 65535), default=DEFAULT_PORT, show_default=True, help="Port on 127.0.0.1."
)
def ui(port: int, **options: Any) -> int:
    """Open MLflow's user interface on this sweep; it listens on this machine only, until interrupted.

    A sweep on an MLflow server needs none of this: its address is printed instead.
    """
    request = sweep_request(**options)
    from orchestrator.ledger.location import SERVER_SCHEMES, resolve_location
    from orchestrator.ledger.ui import LOOPBACK, check_port_free, ui_command, ui_environment

    location = resolve_location(request.folder, request.tracking_uri)
    if location.tracking_uri.split("://")[0] in SERVER_SCHEMES:
        click.echo(f"this sweep is on an MLflow server: open {location.tracking_uri}, experiment {request.grid.name}")
        return 0
    command = ui_command(location.tracking_uri, port)
    check_port_free(LOOPBACK, port)
    experiment = _experiment_id(request)
    click.echo(
        f"MLflow on {request.grid.name}: http://{LOOPBACK}:{port}/#/experiments/{experiment}/runs (Ctrl-C ends it)"
    )
    return subprocess.run(command, check=False, env=ui_environment()).returncode


def _experiment_id(request: SweepRequest) -> str:
    from orchestrator.ledger.store import open_ledger

    with open_ledger(request.folder, request.grid.name, tracking_uri=request.tracking_uri, mode="read") as ledger:
        return ledger.experiment_id
