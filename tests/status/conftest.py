"""A planted sweep, drivers for it, and what `status` says of it."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from planted_sweeps import Slots, Sweep

from orchestrator.cli import main
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.ledger.schema import make_schema


@pytest.fixture(scope="session")
def prepared_cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A cache with Indian Pines prepared, made once."""
    cache = tmp_path_factory.mktemp("cache")
    prepare("indian_pines", DataLocations(data_root=None, cache=cache))
    return cache


@pytest.fixture(scope="session")
def empty_store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MLflow store with its tables and nothing in them."""
    folder = tmp_path_factory.mktemp("empty_store")
    make_schema(folder / "mlflow.db", folder / "artifacts")
    return folder / "mlflow.db"


@pytest.fixture
def sweep(tmp_path: Path, prepared_cache: Path, empty_store: Path, monkeypatch: pytest.MonkeyPatch) -> Sweep:
    """A sweep that was never started."""
    for name in ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HSFM_CACHE", str(prepared_cache))
    return Sweep(tmp_path, prepared_cache, empty_store)


@pytest.fixture
def drive(sweep: Sweep) -> Iterator[Callable[[Mapping[int, Slots]], subprocess.Popen[str]]]:
    """Start drivers; they are gone when the test ends."""
    started: list[subprocess.Popen[str]] = []

    def call(slots: Mapping[int, Slots]) -> subprocess.Popen[str]:
        started.append(sweep.drive(slots))
        return started[-1]

    yield call
    for process in started:
        if process.poll() is None:
            process.send_signal(signal.SIGKILL)
        process.wait()


@pytest.fixture
def status(sweep: Sweep, capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """What `status` prints; it must end with 0."""

    def call(*arguments: str) -> str:
        capsys.readouterr()
        code = main(["status", *sweep.arguments, *arguments])
        output = capsys.readouterr()
        assert code == 0, output.err
        return output.out

    return call


@pytest.fixture
def status_data(status: Callable[..., str]) -> Callable[..., dict[str, Any]]:
    """What `status --json` tells."""
    return lambda *arguments: json.loads(status("--json", *arguments))
