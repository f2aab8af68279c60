"""How the MLflow UI of a sweep is started."""

from __future__ import annotations

import os
import socket
import sys
from pathlib import Path

from orchestrator.errors import LedgerError
from orchestrator.ledger.environment import SERVER_SETTINGS, SETTINGS
from orchestrator.ledger.location import DATABASE_NAME, SERVER_SCHEMES, StoreLocation, resolve_location

LOOPBACK = "127.0.0.1"


def ui_command(source: Path | str, port: int, *, host: str = LOOPBACK) -> list[str]:
    """The command that serves MLflow's UI on a sweep: one worker, on this machine only.

    Start it with `ui_environment()`, which switches MLflow's job execution off (start 11-20 s instead of 28, 0.4 GB
    instead of 1.9).

    Args:
        source: the sweep's folder, or a tracking URI.
        port: TCP port; see `check_port_free`.
        host: address to listen on. MLflow asks nobody for a password: anything but loopback opens it to the network.

    Raises:
        LedgerError: the sweep is kept by a server, which has its own UI, or does not exist.
    """
    if isinstance(source, str) and source.split("://")[0] in SERVER_SCHEMES:
        raise LedgerError(
            f"this sweep is kept by the MLflow server {source}: open that address, nothing needs starting."
        )
    is_uri = isinstance(source, str) and ":" in source
    location = resolve_location(Path.cwd(), str(source)) if is_uri else _folder_location(Path(source))
    if location.database is not None and not location.database.exists():
        raise LedgerError(f"there is no ledger at {location.database}; run the sweep first.")
    command = [sys.executable, "-m", "mlflow", "server", "--host", host, "--port", str(port), "--workers", "1"]
    command += ["--backend-store-uri", location.tracking_uri]
    return command + (["--default-artifact-root", str(location.artifacts)] if location.artifacts else [])


def _folder_location(folder: Path) -> StoreLocation:
    # The folder is named: what MLFLOW_TRACKING_URI says does not matter here.
    return resolve_location(folder, f"sqlite:///{folder.expanduser().resolve() / DATABASE_NAME}")


def ui_environment() -> dict[str, str]:
    """The environment for `ui_command`: this process's, with MLflow quiet, offline and without job execution."""
    return {**SETTINGS, **SERVER_SETTINGS, **os.environ}


def check_port_free(host: str, port: int) -> None:
    """Raise a LedgerError where something listens on the port already, naming it where the system tells."""
    if not 1 <= port <= 65535:
        raise LedgerError(f"port {port} is not allowed: 1 to 65535. Choose another with --port.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server does: TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
        except OSError as error:
            raise LedgerError(
                f"port {port} on {host} cannot be used ({error.strerror}): {_listener(port)}. End that program or "
                f"choose another port with --port, for example {_free_port(host, family)}."
            ) from error


def _free_port(host: str, family: socket.AddressFamily) -> int:
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        try:
            probe.bind((host, 0))
        except OSError:
            return 5001
        return int(probe.getsockname()[1])


def _listener(port: int) -> str:
    import psutil

    try:
        for connection in psutil.net_connections("tcp"):
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port and connection.pid:
                return f"it is used by {psutil.Process(connection.pid).name()} (process {connection.pid})"
    except psutil.Error:
        pass
    return "another program, perhaps of another user, uses it"
