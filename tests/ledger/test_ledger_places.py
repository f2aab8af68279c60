"""Where a ledger may lie, what is refused, and the UI's command and port."""

from __future__ import annotations

import shutil
import socket
import sqlite3
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from ledger_reports import SWEEP

from orchestrator.errors import LedgerError
from orchestrator.ledger.location import resolve_location
from orchestrator.ledger.schema import make_schema
from orchestrator.ledger.store import open_ledger
from orchestrator.ledger.ui import check_port_free, ui_command, ui_environment


@pytest.mark.parametrize("uri", ["file:///data/mlruns", "file:mlruns", "./mlruns", "mlruns"])
def test_a_file_store_is_refused_with_what_to_do(uri: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", uri)
    for mode in ("drive", "read"):
        with pytest.raises(LedgerError, match=r"file stores are not supported.*default.*mlflow migrate-filestore"):
            open_ledger(tmp_path, SWEEP, mode=mode)  # type: ignore[arg-type]


def test_an_unknown_kind_of_store_is_refused(tmp_path: Path) -> None:
    with pytest.raises(LedgerError, match="'redis://x' is not supported; allowed: http"):
        resolve_location(tmp_path, "redis://x")


def test_the_tracking_uri_is_absolute_wherever_one_stands(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert resolve_location(Path("runs/a")).tracking_uri == f"sqlite:///{tmp_path}/runs/a/mlflow.db"
    assert resolve_location(Path("a"), "sqlite:///some.db").tracking_uri == f"sqlite:///{tmp_path}/some.db"


def test_a_folder_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    (tmp_path / "occupied").write_text("a file where the folder should be")
    with pytest.raises(LedgerError, match=r"occupied.* cannot be written .*choose another output folder"):
        open_ledger(tmp_path / "occupied" / "sweep", SWEEP, mode="drive")


def test_sqlite_on_a_network_file_system_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mounts = [SimpleNamespace(mountpoint="/", fstype="ext4"), SimpleNamespace(mountpoint=str(tmp_path), fstype="nfs4")]
    monkeypatch.setattr(psutil, "disk_partitions", lambda **_: mounts)
    with pytest.raises(LedgerError, match=r"network file system \(nfs4\).*MLFLOW_TRACKING_URI"):
        open_ledger(tmp_path / "sweep", SWEEP, mode="drive")


def test_a_server_that_does_not_answer_is_an_error_at_once(tmp_path: Path) -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        uri = f"http://127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(LedgerError, match="does not answer"):
            open_ledger(tmp_path, SWEEP, mode="drive", tracking_uri=uri)


def test_the_store_is_in_wal_mode_and_made_only_once(empty_database: Path) -> None:
    connection = sqlite3.connect(empty_database)
    assert connection.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    connection.close()
    assert not make_schema(empty_database, empty_database.parent / "artifacts")
    assert not list(empty_database.parent.glob("*.new*"))


def test_a_store_of_another_mlflow_version_is_not_touched(sweep_dir: Path) -> None:
    connection = sqlite3.connect(sweep_dir / "mlflow.db")
    connection.execute("update alembic_version set version_num = 'bd07f7e963c5'")
    connection.commit()
    connection.close()
    for mode in ("drive", "read"):
        with pytest.raises(LedgerError, match="mlflow db upgrade sqlite:///"):
            open_ledger(sweep_dir, SWEEP, mode=mode).cells()  # type: ignore[arg-type]


def test_an_experiment_that_was_deleted_in_mlflow_is_told_of(sweep_dir: Path) -> None:
    from mlflow.tracking import MlflowClient

    with open_ledger(sweep_dir, SWEEP, mode="drive") as ledger:
        experiment = ledger.experiment_id
    MlflowClient(tracking_uri=ledger.tracking_uri).delete_experiment(experiment)
    with pytest.raises(LedgerError, match="mlflow experiments restore"):
        open_ledger(sweep_dir, SWEEP, mode="drive")


def test_the_ui_is_served_on_this_machine_only_by_one_worker(sweep_dir: Path) -> None:
    command = ui_command(sweep_dir, 5055)
    assert command[:4] == [sys.executable, "-m", "mlflow", "server"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options == {
        "--host": "127.0.0.1", "--port": "5055", "--workers": "1",
        "--backend-store-uri": f"sqlite:///{sweep_dir}/mlflow.db", "--default-artifact-root": f"{sweep_dir}/artifacts",
    }  # fmt: skip
    assert ui_environment()["MLFLOW_SERVER_ENABLE_JOB_EXECUTION"] == "false"
    with pytest.raises(LedgerError, match="open that address"):
        ui_command("http://server:5000", 5055)
    shutil.rmtree(sweep_dir)
    with pytest.raises(LedgerError, match="run the sweep first"):
        ui_command(sweep_dir, 5055)


def test_a_port_in_use_is_an_error_that_says_by_whom() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(LedgerError, match=rf"port {port} on 127.0.0.1 .*process.*--port"):
            check_port_free("127.0.0.1", port)
    check_port_free("127.0.0.1", port)
    with pytest.raises(LedgerError, match="1 to 65535"):
        check_port_free("127.0.0.1", 99999)
