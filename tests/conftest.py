"""What several parts of the tests share: built once a session."""

from __future__ import annotations

from pathlib import Path

import pytest

from orchestrator.ledger.schema import make_schema
from tests.execution import sweeps

SECRETS = {
    "MLFLOW_TRACKING_PASSWORD": "planted-1f0c-password",
    "HF_TOKEN": "planted-77ab-token",
    "AWS_SECRET_ACCESS_KEY": "planted-e3d9-key",
}
"""Planted into the environment of the undisturbed sweep; nothing that it writes may hold one."""


@pytest.fixture(scope="session")
def undisturbed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A sweep on one worker group that nobody disturbed: 3 cells, 18 runs."""
    out = tmp_path_factory.mktemp("undisturbed")
    text = sweeps.run(sweeps.write_grid(out), out, "execution.groups=1", environment=SECRETS)
    out.with_name(f"{out.name}-printed.txt").write_text(text)
    return out


@pytest.fixture(scope="session")
def empty_database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A real MLflow store, made once: making it takes seconds, copying it milliseconds."""
    folder = tmp_path_factory.mktemp("schema")
    make_schema(folder / "mlflow.db", folder / "artifacts")
    return folder / "mlflow.db"
