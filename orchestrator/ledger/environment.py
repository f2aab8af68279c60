"""How MLflow is imported: quiet, offline and with short timeouts. Nothing here imports it by itself."""

from __future__ import annotations

import logging
import os

# The ledger's own writer repeats what failed, with a look-up before anything is created twice. MLflow's repeats
# would hide an outage for minutes and could create a run twice, so they are off unless the user has set them.
SETTINGS = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "DO_NOT_TRACK": "true",
    "GIT_PYTHON_REFRESH": "quiet",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
}
SERVER_SETTINGS = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}


def quiet_mlflow() -> None:
    """Set what MLflow reads from the environment, unless the user has set it; call before importing mlflow."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    for logger in ("alembic", "mlflow.store.db.utils", "mlflow.store.tracking.sqlalchemy_store"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
