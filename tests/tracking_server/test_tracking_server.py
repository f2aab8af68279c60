"""A sweep, its doctor and its errors against a group's MLflow server on PostgreSQL, as `clusters/` starts it."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from orchestrator.cli import main
from orchestrator.datasets.locations import DataLocations
from orchestrator.ledger.location import resolve_location
from orchestrator.ledger.store import open_ledger
from orchestrator.ledger.watching import events_waiting
from orchestrator.upkeep import check_mlflow, tracking_server
from orchestrator.upkeep.findings import Finding, Subject, run_checks
from tests.execution import sweeps
from tests.tracking_server.server import TrackingServer, why_not

pytestmark = [pytest.mark.slow, pytest.mark.skipif(bool(why_not()), reason=why_not() or "never")]
NAME = "tracked"
GRID = f"""name: {NAME}
strategies: [in_domain/svm_rbf, in_domain/random_forest]
datasets: [indian_pines]
label_budgets: [0.02]
seeds: 2
search: {{trials: 2, round: 2}}
"""
RUNS, CELLS = 8, 2
USER, PASSWORD = "anna", "planted-5b21-password"
BASIC = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
"""What goes over the wire: as good as the password."""


@pytest.fixture(scope="module")
def server() -> Iterator[TrackingServer]:
    """Started once: it costs ten seconds of processor time. Not in pytest's folder, which only its user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="hsfm-tracking-"))
    folder.chmod(0o711)
    one = TrackingServer(folder, sweeps.free_port())
    try:
        one.start()
        one.add_user(USER, PASSWORD)
        yield one
    finally:
        one.stop()
        shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def surroundings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in os.environ if name.startswith("MLFLOW_TRACKING")] + ["RAY_ADDRESS"]:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))  # no ~/.mlflow/credentials
    sign_in(monkeypatch, PASSWORD)


def sign_in(monkeypatch: pytest.MonkeyPatch, password: str) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_USERNAME", USER)
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", password)


def look(uri: str, folder: Path) -> list[Finding]:
    """What `doctor` says of the tracking server."""
    subject = Subject(
        grid=None, locations=DataLocations.from_environment(), sweep_root=folder, tracking_uri=uri, arguments=()
    )
    return run_checks((check_mlflow.mlflow,), subject, in_threads=False)


# ---- before a sweep


@pytest.mark.parametrize("name", ["127.0.0.1", "localhost"])
def test_a_server_that_refuses_ends_the_sweep_before_anything_was_done(
    name: str,
    server: TrackingServer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    sign_in(monkeypatch, "a-wrong-password")
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "cache"))
    grid = tmp_path / "grid.yaml"
    grid.write_text(GRID)
    uri = server.uri.replace("127.0.0.1", name)
    assert main(["--grid", str(grid), "--out", str(tmp_path / "out"), "--tracking-uri", uri]) == 2
    error = capsys.readouterr().err
    if name == "127.0.0.1":
        assert f"the MLflow server at {uri} refuses this user and password" in error
        assert "MLFLOW_TRACKING_PASSWORD" in error
    else:
        assert "403 Invalid Host header" in error
        assert f"--allowed-hosts {name}:{server.port}" in error
    assert "a-wrong-password" not in error
    assert not (tmp_path / "cache").exists(), "data were prepared for a sweep that cannot be"
    assert not (tmp_path / "out").exists()


def test_the_doctor_says_which_flag_a_server_needs_that_refuses_its_name(
    server: TrackingServer, tmp_path: Path
) -> None:
    (one,) = look(f"http://localhost:{server.port}", tmp_path)
    assert one.result == "failure"
    assert "403 Invalid Host header" in one.found
    assert f"--allowed-hosts localhost,localhost:{server.port}" in one.mend


def test_the_doctor_tells_a_wrong_password_from_a_right_one_wherever_it_is_kept(
    server: TrackingServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert {one.result for one in look(server.uri, tmp_path)} == {"ok"}
    sign_in(monkeypatch, "a-wrong-password")
    (one,) = look(server.uri, tmp_path)
    assert (one.result, "refuses this user and password" in one.found) == ("failure", True)
    for name in ("USERNAME", "PASSWORD"):
        monkeypatch.delenv(f"MLFLOW_TRACKING_{name}")
    assert look(server.uri, tmp_path)[0].result == "failure"
    monkeypatch.setenv("HOME", str(server.folder / "home"))  # where the script has put the administrator's
    version, *_ = look(server.uri, tmp_path)
    assert (version.result, "the server is mlflow" in version.found) == ("ok", True)


def test_each_node_says_whether_it_reaches_the_server_by_its_name(server: TrackingServer) -> None:
    refused = f"http://localhost:{server.port}"
    closed = f"http://127.0.0.1:{sweeps.free_port()}"
    assert tracking_server.from_node(server.uri) == ""
    assert tracking_server.from_node(refused) == "403 Invalid Host header"
    assert "refused" in tracking_server.from_node(closed)
    uri = "http://me:geheim@tracking.lab:5000"
    assert tracking_server.address_for_nodes(uri) == "http://tracking.lab:5000"
    answers = {"10.0.0.1 aa": "", "10.0.0.2 bb": "403 Invalid Host header", "10.0.0.3 cc": "timed out"}
    host, port = tracking_server.seen_from_nodes(uri, answers)
    assert (host.check, host.result) == ("MLflow from node 10.0.0.2 bb", "warning")
    assert "--allowed-hosts tracking.lab:5000" in host.mend
    assert "let the nodes reach port 5000 of tracking.lab" in port.mend
    (fine,) = tracking_server.seen_from_nodes(uri, dict.fromkeys(answers, ""))
    assert (fine.result, fine.found) == ("ok", "all 3 nodes reach http://tracking.lab:5000 by this name")
    (loopback,) = tracking_server.seen_from_nodes(server.uri, answers)
    assert loopback.result == "ok"


# ---- a sweep


@dataclass(frozen=True)
class Swept:
    """A sweep whose tracking server went away in its middle."""

    out: Path
    printed: str
    process: int
    waited: int
    """Events that MLflow had not been told when its server came back."""

    @property
    def folder(self) -> Path:
        return self.out / NAME


def runs_that_ended(folder: Path) -> int:
    """By the runs' logs: asking the server would cost it more than the sweep does."""
    return sum(" finished" in path.read_text() for path in (folder / "logs").glob("*.log"))


def wait_until(is_so: Any, process: Any, what: str, timeout_s: float = 240) -> None:
    end = time.monotonic() + timeout_s
    while not is_so():
        assert process.poll() is None, process.communicate()[0]
        assert time.monotonic() < end, f"not within {timeout_s:g} s: {what}"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def swept(server: TrackingServer, tmp_path_factory: pytest.TempPathFactory) -> Swept:
    out = tmp_path_factory.mktemp("tracked")
    grid = out.with_name(f"{out.name}.yaml")
    grid.write_text(GRID)
    words = ("--tracking-uri", server.uri, "execution.groups=1")
    signed_in = {"MLFLOW_TRACKING_USERNAME": USER, "MLFLOW_TRACKING_PASSWORD": PASSWORD}
    process = sweeps.start(grid, out, *words, environment=signed_in)
    spool = resolve_location(out / NAME, server.uri).spool_dir
    try:
        wait_until(lambda: runs_that_ended(out / NAME) >= 1, process, "a first run has ended")
        server.cut_off()
        wait_until(lambda: runs_that_ended(out / NAME) >= RUNS - 1, process, "runs go on without a server")
        waited = events_waiting(spool)
        server.start()
        printed = sweeps.finish(process)
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
    assert process.returncode == 0, printed
    return Swept(out, printed, process.pid, waited)


def client_of(server: TrackingServer) -> tuple[Any, str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(server.uri)
    return client, client.get_experiment_by_name(NAME).experiment_id


def test_what_the_spool_kept_while_the_server_was_away_is_told_once(server: TrackingServer, swept: Swept) -> None:
    assert swept.waited > 10, "the server came back before anything had to wait for it"
    assert f"{CELLS} cells are finished" in swept.printed
    client, experiment = client_of(server)
    runs = client.search_runs([experiment], max_results=1000)
    roles = Counter(run.data.tags["hsfm.role"] for run in runs)
    assert roles == {"sweep": 1, "cell": CELLS, "run": RUNS}
    trained = [run for run in runs if run.data.tags["hsfm.role"] == "run"]
    assert {run.info.status for run in trained} == {"FINISHED"}
    assert len({run.data.tags["hsfm.key"] for run in trained}) == RUNS
    for run in trained:
        assert run.data.tags["hsfm.attempt"] == "1", "a run was trained again because its ledger was away"
        assert run.inputs.dataset_inputs
        assert "cost/device_s" in run.data.metrics
        for name in run.data.metrics:
            assert len(client.get_metric_history(run.info.run_id, name)) == 1, f"{name} was told twice"
        assert ("test/miou" in run.data.metrics) == (run.data.tags["hsfm.stage"] == "final")
    slots = [
        s
        for cell in open_ledger(swept.folder, NAME, tracking_uri=server.uri, mode="read").cells().values()
        for s in cell.slots.values()
    ]
    assert Counter(slot.state for slot in slots) == {"finished": RUNS}


def test_artifacts_and_models_arrive_through_the_server(server: TrackingServer, swept: Swept, tmp_path: Path) -> None:
    client, experiment = client_of(server)
    finals = client.search_runs([experiment], "tags.`hsfm.stage` = 'final'")
    names = {run.info.run_id: {item.path for item in client.list_artifacts(run.info.run_id)} for run in finals}
    assert all("evaluation.json" in found for found in names.values())
    published = [run for run in finals if "model" in names[run.info.run_id]]
    assert len(published) == CELLS
    assert all(run.info.artifact_uri.startswith("mlflow-artifacts:") for run in finals)
    own = swept.folder / "checkpoints"
    for run in published:
        fetched = Path(client.download_artifacts(run.info.run_id, "model", str(tmp_path)))
        kept = [path for path in (own / run.data.tags["hsfm.key"] / "model").iterdir() if path.is_file()]
        assert kept
        for path in kept:
            copies = [found.read_bytes() for found in fetched.rglob(path.name)]
            assert path.read_bytes() in copies, path.name
    assert not (swept.folder / "mlflow.db").exists()


def test_the_password_is_in_nothing_that_the_sweep_wrote_or_said(server: TrackingServer, swept: Swept) -> None:
    of_ray = list(Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray").glob(f"session_*_{swept.process}"))
    files = [path for place in (swept.out, *of_ray) for path in place.rglob("*") if path.is_file()]
    files += server.artifact_files()
    assert {"events.jsonl", "comparison.html", "results.parquet", "evaluation.json"} <= {path.name for path in files}
    texts = {"terminal": swept.printed, "MLflow's database": server.dump(), "the server's log": server.log()}
    assert "hsfm.slot.final/0" in texts["MLflow's database"]
    found = [name for name, text in texts.items() if PASSWORD in text or BASIC in text]
    for path in files:
        content = path.read_bytes()
        found += [str(path)] if PASSWORD.encode() in content or BASIC.encode() in content else []
    assert found == []


def test_its_status_and_results_are_read_from_the_server(
    server: TrackingServer, swept: Swept, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["--grid", str(swept.out.with_name(f"{swept.out.name}.yaml")), "--out", str(swept.out)]
    assert main(["status", *words, "--tracking-uri", server.uri, "--json"]) == 0
    data = json.loads(capsys.readouterr().out)
    assert data["state"] == "finished"
    assert data["totals"]["runs_done"] == RUNS
    assert data["ledger"]["events_waiting"] == 0
    assert data["ledger"]["events_refused"] == 0
