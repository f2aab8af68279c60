"""`cluster check` accepts the shipped files, and finds planted mistakes, each with what mends it."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from orchestrator.cli import main
from orchestrator.errors import ConfigError
from orchestrator.upkeep.cluster_check import check_cluster
from orchestrator.upkeep.findings import Finding

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = ["cluster.yaml", "clusters/gcp.yaml", "clusters/on_premises.yaml", "clusters/slurm.sbatch"]


def problems(path: Path) -> list[Finding]:
    """Findings other than ok; placeholders are the user's to fill in."""
    return [one for one in check_cluster(path) if one.result != "ok" and one.check != "placeholders"]


def planted(tmp_path: Path, name: str, old: str, new: str) -> list[Finding]:
    """What is found in a shipped file with one piece of text replaced."""
    text = (ROOT / name).read_text()
    assert old in text
    path = tmp_path / Path(name).name
    path.write_text(text.replace(old, new))
    return problems(path)


@pytest.mark.parametrize("name", SHIPPED)
def test_the_shipped_files_have_nothing_to_mend_but_their_placeholders(name: str) -> None:
    assert problems(ROOT / name) == []
    [placeholder] = [one for one in check_cluster(ROOT / name) if one.check == "placeholders"]
    assert placeholder.result == "failure"


AWS, LAB, SLURM = SHIPPED[0], SHIPPED[2], SHIPPED[3]
PLANTED = [
    (AWS, "max_workers: 8\nupscaling", "max_worker: 8\nupscaling", "keys", "did you mean max_workers?"),
    (AWS, "    labels:", "    label:", "keys", "did you mean available_node_types.gpu.spot.labels?"),
    (AWS, "pull_before_run: true", "pull_before_runs: true", "keys", "docker.pull_before_run?"),
    (AWS, "head_node_type: head.ondemand", "head_node_type: head.spot", "Ray's schema", "mend"),
    (AWS, "CPU: 16, GPU: 1", "CPU: 16, GPU: 0.5", "whole resources", "execution.gpus_per_worker=0.5"),
    (AWS, "gpus_per_worker=1 ", "gpus_per_worker=0.5 train.world_size=2 ", "whole resources", "train.world_size=1"),
    (AWS, "      hsfm_driver: 1000", "      #", "driver node", "hsfm_driver: 1000"),
    (AWS, "CPU: 16, GPU: 1", "CPU: 16, GPU: 1, hsfm_driver: 1", "driver node", "take hsfm_driver out"),
    (AWS, "      CPU: 0 ", "      CPU: 8 ", "idle head", "CPU: 0"),
    (AWS, "      GPU: 0\n", "", "idle head", "GPU: 0"),
    (
        AWS,
        "InstanceType: m6i.2xlarge",
        "InstanceType: m6i.2xlarge\n      InstanceMarketOptions: {MarketType: spot}",
        "head on demand",
        "take the spot setting out",
    ),
    (AWS, "min_workers: 0", "min_workers: 2", "workers from none", "min_workers: 0"),
    (AWS, "cache_stopped_nodes: false", "cache_stopped_nodes: true", "workers from none", "cache_stopped_nodes: false"),
    (AWS, "sudo mount -t nfs4", "echo", "shared storage", "mount one on every node"),
    (AWS, "    - -v /mnt/shared:/mnt/shared", "    - --init", "shared storage", "-v /mnt/shared:/mnt/shared"),
    (AWS, "HSFM_CACHE=/mnt/shared/cache", "HSFM_CACHE=/tmp/cache", "shared storage", "HSFM_CACHE=/mnt/shared/cache"),
    (AWS, "ray:2.60.0-py311-gpu", "ray:2.50.0-py311-gpu", "versions", "Ray 2.60.0"),
    (AWS, "ray:2.60.0-py311-gpu", "ray:2.60.0-py312-gpu", "versions", "-py311"),
    (AWS, "ray:2.60.0-py311-gpu", "ray:latest-gpu", "versions", "name a version"),
    (AWS, "pip install --quiet -c ~/constraints.txt ~/wheels", "echo ~/wheels", "installation", "the wheel"),
    (AWS, "install --quiet -c ~/constraints.txt ~/wheels", "install ~/wheels", "installation", "-c constraints.txt"),
    (AWS, "RAY_ADDRESS=auto", "X=1", "installation", "RAY_ADDRESS=auto"),
    (AWS, "--dashboard-host=127.0.0.1", "--dashboard-host=0.0.0.0", "loopback only", "--dashboard-host=127.0.0.1"),
    (AWS, "region: us-west-2\n", "region: us-west-2  # AWS_SECRET_ACCESS_KEY=abcdefgh\n", "no secrets", "environment"),
    (LAB, " --num-cpus=0 --num-gpus=0", "", "idle head", "--num-cpus=0"),
    (LAB, " --resources='{\"hsfm_driver\": 1000}'", "", "driver node", "--resources="),
    (LAB, "  - mountpoint -q /mnt/shared ", "  - true ", "shared storage", "mountpoint -q /mnt/shared"),
    (LAB, "python3.11 -m venv", "python3.12 -m venv", "versions", "python3.11 -m venv"),
    (LAB, "  head_ip: FILL-IN", "  head_ips: FILL-IN", "keys", "did you mean provider.head_ip?"),
    (SLURM, "#SBATCH --requeue\n", "", "requeue", "#SBATCH --requeue"),
    (SLURM, 'scontrol requeue "$SLURM_JOB_ID"', "true", "requeue", "scontrol requeue"),
    (SLURM, "#SBATCH --signal=B:USR1@180\n", "", "signal", "--signal=B:USR1@180"),
    (SLURM, "--signal=B:USR1@180", "--signal=USR1@180", "signal", "--signal=B:USR1@180"),
    (SLURM, "--signal=B:USR1@180", "--signal=B:USR1@10", "signal", "--signal=B:USR1@180"),
    (SLURM, "trap 'told=1", "echo 'told=1", "signal", "trap"),
    (SLURM, "set -euo pipefail", "sudo modprobe x", "no root", "virtual environment"),
    (SLURM, "set -euo pipefail", "pip install torch", "offline", "--no-index"),
    (SLURM, "HF_HUB_OFFLINE=1 ", "", "offline", "HF_HUB_OFFLINE=1"),
    (
        SLURM,
        'execution.storage_path="$HSFM_HOME',
        'execution.storage_path="/tmp',
        "shared storage",
        "all compute nodes",
    ),
]


@pytest.mark.parametrize(("name", "old", "new", "check", "mend"), PLANTED)
def test_a_planted_mistake_is_found_with_what_mends_it(
    tmp_path: Path, name: str, old: str, new: str, check: str, mend: str
) -> None:
    found = planted(tmp_path, name, old, new)
    assert any(one.check == check and mend in one.mend for one in found), found


def test_a_file_that_is_none_is_refused_before_anything_is_checked(tmp_path: Path) -> None:
    (tmp_path / "cluster.yaml").write_text("a: [")
    with pytest.raises(ConfigError, match="is not YAML"):
        check_cluster(tmp_path / "cluster.yaml")
    assert main(["cluster", "check", str(tmp_path / "absent.yaml")]) == 2


def test_the_exit_status_and_the_json_say_whether_the_file_would_do(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "cluster.yaml"
    assert main(["cluster", "check", str(ROOT / AWS), "--json"]) == 1
    data = json.loads(capsys.readouterr().out)
    assert data["totals"]["failure"] == 1
    path.write_text(re.sub(r"FILL-IN", "0123", (ROOT / AWS).read_text()))
    assert main(["cluster", "check", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["totals"] == {"ok": 13, "warning": 0, "failure": 0}


def test_a_secret_in_a_file_is_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "cluster.yaml"
    path.write_text((ROOT / AWS).read_text() + "# MLFLOW_TRACKING_PASSWORD=hunter2hunter2\n")
    assert main(["cluster", "check", str(path)]) == 1
    output = capsys.readouterr()
    assert "MLFLOW_TRACKING_PASSWORD" in output.out
    assert "hunter2" not in output.out + output.err
