"""A sweep joins a cluster that asks for Ray's token; without the token it is told why not."""

from __future__ import annotations

import contextlib
import os
import secrets
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from ray.util import get_node_ip_address

from tests.execution import sweeps

GRID = """name: joined
strategies: [in_domain/svm_rbf]
datasets: [indian_pines]
label_budgets: [0.1]
seeds: 1
search: {trials: 1}
"""
START_LIMIT_S = 180


def answers(node: str, port: int) -> bool:
    """Whether somebody listens on this port."""
    with socket.socket() as connection:
        return connection.connect_ex((node, port)) == 0


@contextlib.contextmanager
def cluster(environment: dict[str, str]) -> Iterator[tuple[str, Path]]:
    """The address of a cluster of one node, and its folder with Ray's logs."""
    node = get_node_ip_address()  # on the loopback Ray's own clients would not find it
    with socket.socket() as free:
        free.bind((node, 0))
        port = free.getsockname()[1]
    with tempfile.TemporaryDirectory(prefix="ray-") as folder:  # short: it becomes the path of a socket
        ray = [str(Path(sys.executable).parent / "ray"), "start", "--head", "--block", f"--port={port}"]
        ray += [f"--node-ip-address={node}", "--num-cpus=1", '--resources={"hsfm_driver": 1000}']
        ray += ["--include-dashboard=false", f"--temp-dir={folder}", "--object-store-memory=100000000"]
        log = Path(folder) / "start.log"
        with log.open("wb") as output:
            process = subprocess.Popen(ray, env=environment, stdout=output, stderr=output, start_new_session=True)
        try:
            deadline = time.monotonic() + START_LIMIT_S
            while not answers(node, port):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < deadline, log.read_text()
                time.sleep(0.2)
            yield f"{node}:{port}", Path(folder)
        finally:
            os.killpg(process.pid, signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(20)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)


def environment_with(folder: Path, token: str) -> dict[str, str]:
    """Ray's settings and a home without a token of its own."""
    plain = {k: v for k, v in os.environ.items() if not k.startswith("RAY_")}
    plain |= {"HOME": str(folder), "OMP_NUM_THREADS": "1", "RAY_USAGE_STATS_ENABLED": "0"}
    if not token:
        return plain | {"RAY_AUTH_MODE": "disabled"}
    path = folder / "token"
    path.write_text(token)
    path.chmod(0o600)
    return plain | {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(path)}


def grid(folder: Path) -> Path:
    path = folder / "joined.yaml"
    path.write_text(GRID)
    return path


def holds(folder: Path, text: str) -> list[str]:
    """Files below a folder that hold a text."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_socket()]
    return [str(path.relative_to(folder)) for path in files if text.encode() in path.read_bytes()]


def test_a_sweep_joins_a_cluster_with_a_token_and_is_refused_without(tmp_path: Path) -> None:
    # without a token on either side: `make three-hosts`
    token = secrets.token_hex(32)
    environment = environment_with(tmp_path, token)
    out = tmp_path / "out"
    with cluster(environment) as (address, ray_folder):
        text = sweeps.run(grid(tmp_path), out, environment=environment | {"RAY_ADDRESS": address})
        assert "1 cell is finished" in text
        assert not holds(out, token)
        assert not holds(ray_folder, token)
        assert token not in text
        stranger = environment_with(tmp_path, "") | {"RAY_ADDRESS": address}
        process = sweeps.start(grid(tmp_path), tmp_path / "other", environment=stranger)
        refused = sweeps.finish(process)
    assert process.returncode != 0
    assert f"Ray at {address} cannot be joined" in refused
    assert "token" in refused.lower()
