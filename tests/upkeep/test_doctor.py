"""`doctor` finds planted faults, says what mends them, and leaves everything as it is."""

from __future__ import annotations

import dataclasses
import http.server
import importlib.metadata
import json
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.cli.same_command import sweep_words
from orchestrator.config import load_grid
from orchestrator.config.secrets import mask_secrets
from orchestrator.execution import machine
from orchestrator.upkeep import check_machine, check_mlflow, check_software, resources
from orchestrator.upkeep.deep import compare_versions, versions_here
from orchestrator.upkeep.findings import Finding, Subject, run_checks
from tests.upkeep.conftest import NAME, Run


def findings(out: str) -> dict[str, dict[str, Any]]:
    """The worst finding of each check."""
    order = ("ok", "warning", "failure")
    found: dict[str, dict[str, Any]] = {}
    for one in sorted(json.loads(out)["checks"], key=lambda one: order.index(one["result"])):
        found[one["check"]] = one
    return found


@pytest.fixture
def alone(tmp_path: Path) -> Subject:
    """The machine, without a grid."""
    from orchestrator.datasets.locations import DataLocations

    return Subject(
        grid=None, locations=DataLocations.from_environment(), sweep_root=tmp_path / "sweeps", tracking_uri=None
    )


def look(check: Callable[[Subject], Any], subject: Subject) -> list[Finding]:
    return run_checks((check,), subject, in_threads=False)


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


# --- as a whole ----------------------------------------------------------------------------------------------------


def test_a_healthy_sweep_has_no_failure_and_stays_as_it_is(run: Run, sweep: tuple[str, ...], root: Path) -> None:
    before = files(root)
    status, out, _ = run("doctor", *sweep, "--json")
    data = json.loads(out)
    assert status == 0, data
    assert set(data) == {"schema", "name", "deep", "checks", "totals"}
    assert all(set(one) == {"check", "result", "found", "mend"} for one in data["checks"])
    found = findings(out)
    for name in ("Python", "packages", "Ray", "sweep folder", "storage", "MLflow", "data set indian_pines", "plan"):
        assert found[name]["result"] == "ok", found[name]
    assert found["driver"]["found"] == "nobody drives the sweep"
    assert all(one["mend"] for one in data["checks"] if one["result"] != "ok")
    assert files(root) == before


def test_without_a_grid_the_machine_is_looked_at_and_nothing_is_made(run: Run, tmp_path: Path) -> None:
    status, out, _ = run("doctor")
    assert status == 0, out
    assert "sweep folder" in out
    assert "0 failures" in out
    assert list(tmp_path.iterdir()) == []
    status, _, error = run("doctor", "seeds=3")
    assert status == 2
    assert "add --grid NAME" in error


def test_what_a_killed_driver_left_is_found_and_reconcile_mends_it(run: Run, killed: tuple[str, ...]) -> None:
    status, out, _ = run("doctor", *killed, "--json")
    assert status == 0
    found = findings(out)
    assert "died without letting go" in found["driver"]["found"]
    assert found["spool"]["found"] == "3 events wait for MLflow; none is lost"
    assert "MLflow runs are RUNNING, but nobody drives the sweep" in found["runs"]["found"]
    mends = {found[name]["mend"] for name in ("driver", "spool", "runs")}
    assert mends == {"hsfm-sweep reconcile " + " ".join(killed)}
    assert run("reconcile", *killed)[0] == 0
    found = findings(run("doctor", *killed, "--json")[1])
    assert found["driver"]["found"] == "nobody drives the sweep"
    assert "runs" not in found


def test_storage_that_cannot_be_written_is_a_failure(run: Run, sweep: tuple[str, ...], tmp_path: Path) -> None:
    (tmp_path / "a_file").touch()
    status, out, _ = run("doctor", *sweep, "--json", f"execution.storage_path={tmp_path / 'a_file' / 'deeper'}")
    assert status == 1
    storage = findings(out)["storage"]
    assert storage["result"] == "failure"
    assert "Not a directory" in storage["found"]
    assert "execution.storage_path" in storage["mend"]


def test_an_object_store_that_does_not_answer_is_a_failure_without_its_password(
    run: Run, sweep: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "verysecret")
    setting = "execution.storage_path=s3://me:geheim@bucket/prefix?endpoint_override=127.0.0.1:9&scheme=http"
    status, out, error = run("doctor", *sweep, "--json", setting)
    assert status == 1
    assert findings(out)["storage"]["result"] == "failure"
    assert not {"geheim", "verysecret"} & set((out + error).replace("/", " ").replace(":", " ").split())
    assert "geheim" not in out + error


def test_no_secret_of_a_tracking_address_is_printed(run: Run, sweep: tuple[str, ...]) -> None:
    status, out, error = run("doctor", *sweep, "--tracking-uri", "http://me:geheim@127.0.0.1:9")
    assert status == 1
    assert "no MLflow server answers at http://***@127.0.0.1:9" in out
    assert "geheim" not in out + error


def test_an_error_of_any_verb_keeps_the_password_of_the_tracking_address(run: Run, sweep: tuple[str, ...]) -> None:
    status, out, error = run("reconcile", *sweep, "--tracking-uri", "http://me:geheim@127.0.0.1:9")
    assert status == 2
    assert "MLflow at http://***@127.0.0.1:9 does not answer" in error
    assert "geheim" not in out + error


def test_secrets_are_masked_wherever_they_stand(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_abcdefgh")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", "/var/run/token")
    text = "s3://key:word@bucket?secret_key=abc&region=eu postgresql://u:p@h/db token=xyz hf_abcdefgh /var/run/token"
    assert mask_secrets(text) == (
        "s3://***@bucket?secret_key=***&region=eu postgresql://***@h/db token=*** *** /var/run/token"
    )


def test_a_command_that_is_to_be_typed_again_holds_no_secret() -> None:
    options = {"grid": "quick", "out": "hsfm_sweeps", "overrides": ()}
    for uri in ("postgresql://u:geheim@h/db", "postgresql://h/db?user=u&password=geheim"):
        assert sweep_words({**options, "tracking_uri": uri}) == ("--grid", "quick", "--tracking-uri", "URI")
    assert sweep_words({**options, "tracking_uri": "http://h:5000"})[-1] == "http://h:5000"


def test_a_check_that_falls_over_does_not_end_the_others(alone: Subject) -> None:
    def broken(subject: Subject) -> Iterator[Finding]:
        yield Finding("first", "ok", "said before")
        raise ValueError("fell over")

    def sound(subject: Subject) -> Iterator[Finding]:
        yield Finding("second", "ok", "fine")

    found = run_checks((broken, sound), alone)
    assert [(one.check, one.result) for one in found] == [("first", "ok"), ("broken", "warning"), ("second", "ok")]
    assert "fell over" in found[1].found


# --- software ------------------------------------------------------------------------------------------------------


def versions(monkeypatch: pytest.MonkeyPatch, **others: str) -> None:
    real = importlib.metadata.version

    def version(name: str) -> str:
        if others.get(name) == "absent":
            raise importlib.metadata.PackageNotFoundError(name)
        return others.get(name) or real(name)

    monkeypatch.setattr(importlib.metadata, "version", version)


def test_a_package_that_is_too_old_or_absent_is_told_with_its_bound(
    alone: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    versions(monkeypatch, optuna="4.0.0", timm="absent")
    bad = {one.found: one.mend for one in look(check_software.packages, alone) if one.result == "failure"}
    assert bad == {
        "optuna 4.0.0 is installed; needed: optuna>=5.0": "pip install 'optuna>=5.0'",
        "timm is not installed; needed: timm>=1.0.31": "pip install 'timm>=1.0.31'",
    }


def test_torch_and_torchvision_that_are_no_pair_are_told(alone: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    real = importlib.metadata.requires
    monkeypatch.setattr(
        importlib.metadata, "requires", lambda name: ["torch==2.13.0"] if name == "torchvision" else real(name)
    )
    (pair,) = [one for one in look(check_software.packages, alone) if one.check == "torch and torchvision"]
    assert "was built for torch==2.13.0" in pair.found


def test_a_version_beside_the_tested_set_is_a_warning(alone: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    versions(monkeypatch, optuna="5.9.9")
    (tested,) = [one for one in look(check_software.packages, alone) if one.check == "tested set"]
    assert tested.result == "warning"
    assert "optuna 5.9.9 instead of" in tested.found
    assert tested.mend == "pip install -e . -c constraints.txt"


def test_nodes_with_other_versions_are_told_one_by_one() -> None:
    here = versions_here()
    answers = {"head": {"versions": here}, "spot": {"versions": {**here, "torch": "2.0", "hsfm-sweep": ""}}}
    head, spot = compare_versions(answers, here)
    assert head.result == "ok"
    assert spot.check == "node spot"
    assert f"torch 2.0 instead of {here['torch']}, hsfm-sweep absent instead of" in spot.found


# --- machine -------------------------------------------------------------------------------------------------------


def test_limits_of_a_container_count_as_much_as_the_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(str(2**30))
    (tmp_path / "memory.current").write_text(str(2**29))
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    assert machine.cpus_allowed() == 0.5
    assert resources.memory_allowed() == (2**30, 2**29)


@pytest.mark.parametrize(
    ("limit", "used"), [("memory.max", "memory.current"), ("memory.limit_in_bytes", "memory.usage_in_bytes")]
)
def test_copies_of_files_in_memory_count_as_free(
    limit: str, used: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / limit).write_text(str(2**30))
    (tmp_path / used).write_text(str(2**29))
    own = "" if limit == "memory.max" else "total_"
    cached = f"{own}active_file {2**27}\n{own}inactive_file {2**27}\n"
    (tmp_path / "memory.stat").write_text(f"anon {2**28}\n{cached}slab 7\n")
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    monkeypatch.setattr("psutil.virtual_memory", lambda: SimpleNamespace(total=2**40, available=2**40))
    assert resources.memory_allowed() == (2**30, 2**29 + 2**28)


def test_more_groups_than_the_container_has_cpus_are_told(alone: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(machine, "cpus_allowed", lambda: 2.0)
    monkeypatch.setattr("os.cpu_count", lambda: 64)
    subject = dataclasses.replace(alone, grid=load_grid("smoke", ["execution.groups=8"]))
    (cpus,) = [one for one in look(check_machine.devices, subject) if one.check == "CPUs"]
    assert cpus.result == "warning"
    assert cpus.mend == "execution.groups=2"


def test_too_many_threads_and_too_little_shared_memory_are_told(
    alone: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "8")
    monkeypatch.setattr(resources, "disk", lambda _: (64 * 2**20, 0.1))
    found = {one.check: one for one in look(check_machine.limits, alone)}
    assert found["OMP_NUM_THREADS"].mend == "unset OMP_NUM_THREADS"
    assert "--shm-size=1g" in found["shared memory"].mend


def test_gpus_that_torch_cannot_use_are_told_with_the_drivers_word(
    alone: Subject, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = "The NVIDIA driver on your system is too old (found version 11040)."
    monkeypatch.setattr(resources, "gpus", lambda: resources.Gpus(present=True, error=told, driver="NVRM version: 470"))
    (one,) = look(check_machine.graphics, alone)
    assert one.result == "warning"
    assert told in one.found
    assert "NVRM version: 470" in one.found


def test_a_worker_without_a_ray_node_is_named_and_not_killed(alone: Subject, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    import psutil

    def process(pid: int, ppid: int, name: str, title: str) -> Any:
        facts = {"pid": pid, "ppid": ppid, "name": name, "cmdline": [title], "uids": SimpleNamespace(real=os.getuid())}
        return SimpleNamespace(info=facts)

    listed = [process(10, 1, "raylet", "raylet"), process(11, 10, "ray::IDLE", "ray::IDLE")]
    lost = process(12, 1, "ray::RayTrainWorker", "ray::RayTrainWorker")
    monkeypatch.setattr(psutil, "process_iter", lambda _: [*listed, lost])
    (one,) = look(check_machine.left_over_processes, alone)
    assert one.result == "warning"
    assert one.mend == "kill 12"
    assert "ray::RayTrainWorker (12)" in one.found


# --- data, disk, store ---------------------------------------------------------------------------------------------


def test_absent_and_damaged_data_are_told_with_the_command(
    run: Run, sweep: tuple[str, ...], cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = shutil.copytree(cache, tmp_path / "cache")
    monkeypatch.setenv("HSFM_CACHE", str(own))
    (image,) = own.glob("prepared/*/image_00000.arrow")
    image.write_bytes(b"cut short")
    status, out, _ = run("doctor", *sweep, "--json", "datasets=[indian_pines, samson]")
    assert status == 1
    found = findings(out)
    assert found["data set indian_pines"]["result"] == "warning"
    assert "image_00000.arrow" in found["data set indian_pines"]["found"]
    assert found["data set samson"]["result"] == "failure"
    assert found["data set samson"]["mend"] == "hsfm-sweep data fetch samson"


def test_a_full_disk_and_one_that_ray_takes_for_full_are_told(
    run: Run, sweep: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    from orchestrator.upkeep import check_storage

    monkeypatch.setattr(
        check_storage, "disk", lambda folder: (2**20, 0.99) if folder.name == "checkpoints" else (2**34, 0.99)
    )
    status, out, _ = run("doctor", *sweep, "--json")
    assert status == 1
    found = findings(out)
    assert found["disk: storage"]["result"] == "failure"
    assert "gc --grid" in found["disk: storage"]["mend"]
    assert "RAY_TMPDIR" in found["disk: Ray's temporary folder"]["mend"]


@pytest.mark.parametrize(
    ("revision", "words"), [("451aebb31d03", "mlflow db upgrade"), ("from_tomorrow", "newer MLflow")]
)
def test_a_store_of_another_mlflow_is_told(
    run: Run, sweep: tuple[str, ...], root: Path, revision: str, words: str
) -> None:
    with closing(sqlite3.connect(root / NAME / "mlflow.db")) as connection:
        connection.execute("update alembic_version set version_num = ?", (revision,))
        connection.commit()
    status, out, _ = run("doctor", *sweep, "--json")
    assert status == 1
    found = findings(out)["MLflow"]
    assert words in found["found"] + found["mend"]


def test_sqlite_on_a_network_file_system_is_a_failure(
    run: Run, sweep: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    import psutil

    mounts = [SimpleNamespace(mountpoint="/", fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    status, out, _ = run("doctor", *sweep, "--json")
    assert status == 1
    assert "network file system (nfs4)" in findings(out)["database place"]["found"]


# --- tracking servers ----------------------------------------------------------------------------------------------


@pytest.fixture
def answering() -> Iterator[Callable[..., str]]:
    """Starts a server with given answers; its address."""
    servers: list[http.server.ThreadingHTTPServer] = []

    def start(*, version: str, api: int = 200, body: str = "{}", ahead_s: float = 0.0) -> str:
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                is_version = self.path == "/version"
                self.send_response_only(200 if is_version else api)
                self.send_header("Date", formatdate(time.time() + ahead_s, usegmt=True))
                self.end_headers()
                self.wfile.write((version if is_version else body).encode())

            def log_message(self, *_: Any) -> None:
                pass

        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        servers.append(server)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{server.server_port}"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


def test_a_server_that_does_not_know_its_name_is_explained_with_the_flag(
    alone: Subject, answering: Callable[..., str]
) -> None:
    uri = answering(version="3.17.2", api=403, body="Invalid Host header - possible DNS rebinding attack detected")
    alone.tracking_uri = uri
    (one,) = look(check_mlflow.mlflow, alone)
    assert one.result == "failure"
    assert f"--allowed-hosts 127.0.0.1,{uri.removeprefix('http://')}" in one.mend


def test_another_version_and_another_clock_of_the_server_are_told(
    alone: Subject, answering: Callable[..., str]
) -> None:
    alone.tracking_uri = answering(version="2.9.0", ahead_s=90)
    version, clock = look(check_mlflow.mlflow, alone)
    assert version.result == "failure"
    assert "the server is mlflow 2.9.0" in version.found
    assert clock.result == "failure"
    assert "behind the server's" in clock.found
    client = importlib.metadata.version("mlflow")
    alone.tracking_uri = answering(version=client)
    assert [one.result for one in look(check_mlflow.mlflow, alone)] == ["ok", "ok"]


def test_the_newest_schema_of_the_installed_mlflow_is_the_one_it_makes(template: Path) -> None:
    with closing(sqlite3.connect(template / NAME / "mlflow.db")) as connection:
        made = connection.execute("select version_num from alembic_version").fetchone()[0]
    assert check_mlflow.schema_revisions().head == made
