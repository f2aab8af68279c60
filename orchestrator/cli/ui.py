"""`hsfm-sweep ui`: MLflow's own user interface on a sweep, on this machine only."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from typing import Any

import click

from orchestrator.cli.options import sweep_options, sweep_request
from orchestrator.errors import ConfigError

HOST = "127.0.0.1"
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
    from orchestrator.ledger.environment import SERVER_SETTINGS, quiet_mlflow
    from orchestrator.ledger.location import resolve_location

    location = resolve_location(request.folder, request.tracking_uri)
    if location.tracking_uri.startswith(("http://", "https://")):
        click.echo(f"this sweep is on an MLflow server: open {location.tracking_uri}, experiment {request.grid.name}")
        return 0
    if location.database is not None and not location.database.exists():
        raise ConfigError(
            f"sweep {request.grid.name!r} has no ledger at {location.database}; allowed: a sweep that was started; run "
            f"`hsfm-sweep --grid {options['grid']}` first, or name its folder with --out"
        )
    require_free(port)
    quiet_mlflow()
    address = (
        f"http://{HOST}:{port}/#/experiments/{_experiment_id(request.folder, request.grid.name, request.tracking_uri)}"
    )
    click.echo(f"MLflow on {request.grid.name}: {address} (Ctrl-C ends it)")
    command = [sys.executable, "-m", "mlflow", "server", "--host", HOST, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", location.tracking_uri]
    if location.artifacts is not None:
        command += ["--artifacts-destination", str(location.artifacts)]
    for name, value in SERVER_SETTINGS.items():
        os.environ.setdefault(name, value)
    return subprocess.run(command, check=False).returncode


def require_free(port: int) -> None:
    """Check that a port of this machine is free.

    Raises:
        ConfigError: something listens on it already.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(
                f"port {port} of {HOST} is in use ({error.strerror}); allowed: a free port; choose another with --port"
            ) from error


def _experiment_id(folder: Any, name: str, tracking_uri: str | None) -> str:
    from orchestrator.ledger.store import open_ledger

    with open_ledger(folder, name, tracking_uri=tracking_uri, mode="read") as ledger:
        return ledger.experiment_id
