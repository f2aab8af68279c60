"""The file that `ray up` gets: three hosts by SSH, and the project's wheel installed by setup commands."""

from __future__ import annotations

import sys
import sysconfig
from pathlib import Path
from typing import Any

import yaml

from tests.three_hosts.hosts import Host

PORT = 6379
NAME = "three-hosts"
SWEEP_UP = (
    "raylet=$(pgrep -n -x raylet) && (setsid sh -c "
    '"while kill -0 $raylet; do sleep 1; done; sleep 10; pgrep -x raylet || ray stop" >/dev/null 2>&1 </dev/null &)'
)
"""`ray down` with provider local stops the head alone. A worker's raylet ends by itself when it finds no head for some
time, but Ray's log monitor would live on for ever: this waits for the end of the one and ends the other. A raylet that
was started meanwhile is left alone."""


def install_commands(disk: Path, wheel: Path) -> list[str]:
    """An environment on a host's own disk that has the wheel and borrows its dependencies.

    The dependencies (gigabytes) are shared: they are read from the environment that runs the test. The project itself
    is not: its wheel goes into the new environment before the other's packages can be seen.
    """
    environment = disk / "env"
    packages = environment / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages"
    ray = environment / "bin" / "ray"
    pip = f"{sys.prefix}/bin/python -m pip --python {environment}/bin/python"
    return [
        f"test -x {ray} || ("
        f"{sys.base_prefix}/bin/python3 -m venv --without-pip {environment} && "
        f"{pip} install --quiet --no-deps --no-index --disable-pip-version-check {wheel} && "
        f"echo {sysconfig.get_path('purelib')} > {packages}/dependencies.pth && "
        f"printf '#!/bin/sh\\nexec {environment}/bin/python -m ray.scripts.scripts \"$@\"\\n' > {ray} && "
        f"chmod +x {ray})"
    ]


def cluster(world: Path, wheel: Path, probe: Path, head: Host, workers: list[Host]) -> dict[str, Any]:
    """The content of the file.

    The head declares the resource of the drivers and no CPU, so no training lands there. Each worker declares the CPUs
    that its disk's file `cpus` names.
    """
    disk = world / "disk"
    there = disk / "wheel" / wheel.name
    # `ray down` and the autoscaler call a bare `ray` through SSH: it must be on the PATH of such a shell.
    settings = f"export PATH={disk}/env/bin:$PATH RAY_AUTH_MODE=disabled RAY_USAGE_STATS_ENABLED=0"
    settings += " RAY_worker_niceness=0"
    # A host that does not answer is given up after 39 s; Ray's own limit is 65 s.
    patience = "export RAY_health_check_failure_threshold=3"
    start = "ulimit -n 65536; RAY_memory_monitor_refresh_ms=0 ray start --object-store-memory=100000000"
    return {
        "cluster_name": NAME,
        "max_workers": len(workers),
        "min_workers": len(workers),
        "idle_timeout_minutes": 30,
        "provider": {
            "type": "local",
            "head_ip": head.address,
            "worker_ips": [worker.address for worker in workers],
        },
        "auth": {"ssh_user": "root", "ssh_private_key": str(world / "keys" / "key")},
        "file_mounts": {str(disk / "wheel"): str(wheel.parent), str(disk / "probe"): str(probe.parent)},
        "setup_commands": [
            *install_commands(disk, there),
            f"grep -q RAY_AUTH_MODE ~/.bashrc || echo '{settings}' >> ~/.bashrc",
        ],
        "head_start_ray_commands": [
            "ray stop",
            f"{patience}; {start} --head --port={PORT} --num-cpus=0 --resources='{{\"hsfm_driver\": 1000}}' "
            "--include-dashboard=false --autoscaling-config=~/ray_bootstrap_config.yaml",
        ],
        "worker_start_ray_commands": [
            "ray stop",
            f"export RAY_gcs_rpc_server_reconnect_timeout_s=30; {start} --address=$RAY_HEAD_IP:{PORT} "
            f"--num-cpus=$(cat {disk}/cpus)",
            SWEEP_UP,
        ],
    }


def write_cluster(path: Path, content: dict[str, Any]) -> None:
    path.write_text(yaml.safe_dump(content, sort_keys=False, width=1000))
