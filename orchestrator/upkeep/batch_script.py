"""What a batch script of Slurm needs, so that a sweep outlives time limits and requeues, without root or network."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.upkeep import cluster_nodes, cluster_storage
from orchestrator.upkeep.cluster_file import in_order, ray_starts, resources_of
from orchestrator.upkeep.findings import Finding

LOOKED_AT = (
    "requeue",
    "signal",
    "no root",
    "offline",
    "driver node",
    "whole resources",
    "shared storage",
    "loopback only",
    "no secrets",
    "placeholders",
)
MIN_NOTICE_S = 60
"""A tick, a checkpoint and the end of the command fit into it."""


def check_batch_script(text: str) -> list[Finding]:
    """Findings for a script of `sbatch`; checks that found nothing say so."""
    code = "\n".join(line for line in text.splitlines() if not re.match(r"\s*#(?!SBATCH)", line))
    found = [
        *_requeue(text, code),
        *_signal(text, code),
        *_no_root(code),
        *_offline(code),
        *_driver_node(code),
        *cluster_nodes.shared_gpus(code),
        *_storage(code),
        *cluster_storage.open_doors(code),
        *cluster_storage.secrets(code),
        *cluster_storage.placeholders(text),
    ]
    return in_order(found, LOOKED_AT)


def _requeue(text: str, code: str) -> Iterator[Finding]:
    if not re.search(r"^#SBATCH\s+--requeue\b", text, re.MULTILINE):
        yield Finding("requeue", "failure", "a job that Slurm pre-empts is not started again", "#SBATCH --requeue")
    if "scontrol requeue" not in code:
        yield Finding(
            "requeue",
            "failure",
            "a job that reaches its time limit is not started again",
            'after the sweep has ended with 130: scontrol requeue "$SLURM_JOB_ID"',
        )
    if not re.search(r"^#SBATCH\s+--open-mode=append", text, re.MULTILINE):
        yield Finding(
            "requeue", "warning", "a job that is started again overwrites its log", "#SBATCH --open-mode=append"
        )


def _signal(text: str, code: str) -> Iterator[Finding]:
    asked = re.search(r"^#SBATCH\s+--signal=(B:)?(?:SIG)?(\w+)(?:@(\d+))?", text, re.MULTILINE)
    mend = "#SBATCH --signal=B:USR1@180, and trap 'kill -USR1 \"$sweep\"' USR1 in the script"
    if asked is None:
        yield Finding("signal", "failure", "the sweep is not told before its time is up", mend)
        return
    if not asked[1]:
        yield Finding(
            "signal", "failure", "the signal goes to all steps, Ray's own servers too, and kills them (no B:)", mend
        )
    if asked[2] not in ("USR1", "TERM", "INT"):
        yield Finding("signal", "failure", f"SIG{asked[2]} is none that the sweep ends on (USR1, TERM, INT)", mend)
    if int(asked[3] or 60) < MIN_NOTICE_S:
        yield Finding("signal", "failure", f"{asked[3]} s are too short for a checkpoint of every run", mend)
    if not re.search(rf"\btrap\b.*\b(?:SIG)?{asked[2]}\b", code):
        yield Finding("signal", "failure", f"the script does not pass {asked[2]} on to the sweep", mend)
    elif not re.search(r"^\s*wait\b|[;&]\s*wait\b", code, re.MULTILINE):
        yield Finding(
            "signal",
            "failure",
            "the shell runs its trap only once the command in front has ended, which is too late",
            'start the sweep with `&`, keep `sweep=$!`, and `wait "$sweep"`',
        )


def _no_root(code: str) -> Iterator[Finding]:
    for word in ("sudo", "apt-get", "apt install", "dnf install", "yum install", "docker run"):
        if re.search(rf"(?:^|[\s;&|]){re.escape(word)}\b", code, re.MULTILINE):
            yield Finding(
                "no root",
                "failure",
                f"`{word}` needs rights that a compute node does not give",
                "a virtual environment on the shared file system, made once on the login node",
            )


def _offline(code: str) -> Iterator[Finding]:
    if not re.search(r"\bHF_HUB_OFFLINE=1\b", code):
        yield Finding(
            "offline",
            "warning",
            "on a node without network a look-up of weights waits for its timeouts",
            "export HF_HUB_OFFLINE=1, and `hsfm-sweep weights fetch` on the login node first",
        )
    for line in code.splitlines():
        if re.search(r"\bpip3?\s+install\b", line) and "--no-index" not in line:
            yield Finding(
                "offline",
                "failure",
                f"`{line.strip()}` needs a network, which compute nodes seldom have",
                "pip install --no-index --find-links WHEELHOUSE ..., filled on the login node by `pip download`",
            )


def _driver_node(code: str) -> Iterator[Finding]:
    joined = re.sub(r"\\\n", " ", code)
    heads = [options for line in joined.splitlines() for options in ray_starts(line) if "--head" in options]
    if heads and not any("hsfm_driver" in resources_of(one) for one in heads):
        yield Finding(
            "driver node",
            "failure",
            "the head declares no hsfm_driver, so trial drivers may land on any node",
            "--resources='{\"hsfm_driver\": 1000}' for `ray start --head`",
        )
    if "RAY_ADDRESS" not in code:
        yield Finding(
            "driver node",
            "failure",
            "RAY_ADDRESS is set nowhere: the sweep would start a Ray of its own on one node",
            'export RAY_ADDRESS="$head_ip:$port"',
        )


def _storage(code: str) -> Iterator[Finding]:
    if "execution.storage_path=" not in code:
        yield Finding(
            "shared storage",
            "failure",
            "execution.storage_path is not set: checkpoints would go to the first node's own disk",
            "execution.storage_path=DIR on a file system that all compute nodes mount",
        )
    for path in re.findall(r"execution\.storage_path=[\"']?(/(?:tmp|var/tmp|dev/shm|local)\b[^\s\"']*)", code):
        yield Finding(
            "shared storage",
            "failure",
            f"execution.storage_path={path} is a disk of one node",
            "a folder on the file system that all compute nodes mount",
        )
