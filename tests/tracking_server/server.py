"""`clusters/mlflow_server.sh` started for real: MLflow on PostgreSQL with passwords, in a folder of its own."""

from __future__ import annotations

import base64
import json
import os
import pwd
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / "clusters" / "mlflow_server.sh"
ALLOWED_HOSTS = "127.0.0.1:*"
"""Not the script's own, which has localhost too: a test calls the server by that name, to be refused."""
FAST = "-c fsync=off -c synchronous_commit=off -c full_page_writes=off -c shared_buffers=16MB"


def why_not() -> str:
    """Why no such server can be started here; "" where one can."""
    if not shutil.which("pg_ctl") and not list(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl")):
        return "PostgreSQL is not installed (apt-get install postgresql)"
    if missing := [name for name in ("bash", "curl", "setsid") if not shutil.which(name)]:
        return f"{', '.join(missing)} not found"
    if os.getuid() == 0:
        if not shutil.which("runuser"):
            return "runuser not found, and PostgreSQL does not run as root"
        try:
            pwd.getpwnam("postgres")
        except KeyError:
            return "there is no user postgres, and PostgreSQL does not run as root"
    return ""


class TrackingServer:
    """PostgreSQL and MLflow of one folder; they can be cut off and started again."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.port = folder, port
        self.uri = f"http://127.0.0.1:{port}"
        home = folder / "home"
        home.mkdir(parents=True)
        self._environment = {
            **{k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")},
            "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
            "HOME": str(home),  # its credentials file must not be the user's own
            "XDG_RUNTIME_DIR": str(folder),
            "HSFM_MLFLOW_PORT": str(port),
            "HSFM_MLFLOW_HOSTS": ALLOWED_HOSTS,
            "HSFM_MLFLOW_WORKERS": "1",
            "HSFM_POSTGRES_OPTIONS": FAST,
        }
        self._server = folder / "server"

    @property
    def admin_password(self) -> str:
        return (self._server / "password").read_text()

    def start(self) -> None:
        """Start what does not run; returns once MLflow answers."""
        done = self._script()
        assert done.returncode == 0, f"{done.stdout}{done.stderr}{self.log()}"

    def stop(self) -> None:
        self._script("stop")

    def cut_off(self) -> None:
        """Everything dies at once, as in a power cut."""
        os.killpg(int((self._server / "mlflow.pid").read_text()), signal.SIGKILL)
        postmaster = int((self._server / "postgres" / "postmaster.pid").read_text().split()[0])
        os.kill(postmaster, signal.SIGQUIT)  # its children end without writing anything down
        while Path(f"/proc/{postmaster}").exists():
            time.sleep(0.05)

    def log(self) -> str:
        file = self._server / "mlflow.log"
        return file.read_text(errors="replace") if file.exists() else ""

    def add_user(self, name: str, password: str) -> None:
        """What an administrator does for each member of the group."""
        self._ask("/api/2.0/mlflow/users/create", {"username": name, "password": password})

    def dump(self) -> str:
        """Everything that is in MLflow's database, as SQL."""
        binary = shutil.which("pg_dump") or str(sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_dump"))[-1])
        [sockets] = self.folder.glob("hsfm-sockets-*")
        command = [binary, "-h", str(sockets), "-U", "hsfm", "mlflow"]
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout

    def artifact_files(self) -> list[Path]:
        return [path for path in (self._server / "artifacts").rglob("*") if path.is_file()]

    def _script(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = ["bash", str(SCRIPT), str(self._server), *words]
        return subprocess.run(
            command, env=self._environment, capture_output=True, text=True, stdin=subprocess.DEVNULL, timeout=400
        )

    def _ask(self, path: str, body: dict[str, Any]) -> None:
        user = base64.b64encode(f"admin:{self.admin_password}".encode()).decode()
        headers = {"Content-Type": "application/json", "Authorization": f"Basic {user}"}
        request = urllib.request.Request(self.uri + path, json.dumps(body).encode(), headers)
        urllib.request.urlopen(request, timeout=30).close()
