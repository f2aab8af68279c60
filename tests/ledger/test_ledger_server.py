"""The same code against an MLflow server that goes away and comes back."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from ledger_reports import SWEEP, history, report_run, runs_by_key

from orchestrator.errors import LedgerError
from orchestrator.ledger.queries import run_rows
from orchestrator.ledger.session import Ledger
from orchestrator.ledger.store import open_ledger
from orchestrator.ledger.ui import ui_environment


class Server:
    """A real MLflow server with proxied artifacts, in a process group of its own."""

    def __init__(self, folder: Path, port: int) -> None:
        self.uri = f"http://127.0.0.1:{port}"
        self._folder = folder
        self._port = port
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(self._port)]
        command += ["--workers", "1", "--backend-store-uri", f"sqlite:///{self._folder}/mlflow.db"]
        command += ["--artifacts-destination", str(self._folder / "artifacts")]
        with (self._folder / "server.log").open("ab") as log:
            self._process = subprocess.Popen(
                command, stdout=log, stderr=log, env=ui_environment(), cwd=self._folder, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return
            except OSError:
                time.sleep(0.2)
        pytest.fail(f"the server did not start: {(self._folder / 'server.log').read_text()}")

    def kill(self) -> None:
        if self._process is not None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
            self._process = None


@pytest.fixture
def server(tmp_path: Path, empty_database: Path) -> Iterator[Server]:
    folder = tmp_path / "server"
    folder.mkdir()
    shutil.copy(empty_database, folder / "mlflow.db")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    running = Server(folder, port)
    running.start()
    yield running
    running.kill()


@pytest.mark.slow
def test_a_server_that_is_killed_and_comes_back_has_everything_once(
    server: Server, tmp_path: Path, drive: Callable[..., Ledger], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    ledger = drive(tmp_path / "driver")
    ledger.ensure_cell("c1", "a cell", {"hsfm.note": ""})
    report_run(ledger, 0, stage="final")
    ledger.flush()
    for number in range(1, 4):
        report_run(ledger, number)  # the server dies somewhere in the middle of these
    server.kill()
    began = time.monotonic()
    for number in range(4, 8):
        report_run(ledger, number)
    assert time.monotonic() - began < 2
    with pytest.raises(LedgerError, match=r"has not taken \d+ events .* safe in"):
        ledger.flush(1)
    server.start()
    ledger.flush(60)
    slots = ledger.cells()["c1"].slots
    assert {slot.state for slot in slots.values()} == {"finished"}
    assert len(slots) == 8
    ledger.close()
    assert ledger.problems == ()
    runs = runs_by_key(ledger)
    assert {len(found) for found in runs.values()} == {1}
    assert {found[0].info.status for found in runs.values()} == {"FINISHED"}
    for number in range(8):
        points = history(ledger, runs[f"key{number}"][0].info.run_id, "val/miou")
        assert points == [(epoch, number + epoch / 10) for epoch in range(5)]
    reader = open_ledger(tmp_path / "elsewhere", SWEEP, mode="read")
    assert reader.cells()["c1"].slots == slots
    assert run_rows(reader)[0].evaluation == {"units": [{"name": "t", "confusion": [[0]]}]}
    assert not (tmp_path / "driver" / "mlflow.db").exists()
