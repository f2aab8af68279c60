"""What a cluster file says of storage and of doors: one shared folder, no open dashboard, no secret in the file."""

from __future__ import annotations

import re
from collections.abc import Iterator

from orchestrator.config.secrets import mask_secrets
from orchestrator.upkeep.cluster_file import STARTS, ClusterFile
from orchestrator.upkeep.findings import Finding

PLACEHOLDER = "FILL-IN"
OBJECT_STORE = re.compile(r"(?:s3|gs|abfss?)://")
_MOUNT = re.compile(
    r"(?:^|[\s;&|])mount\s+-t\s+(?:nfs4?|efs|lustre|ceph|glusterfs|fuse\.\w+|cifs)\b.*?\s(/[\w./-]+)\s*(?:$|[;&|])",
    re.MULTILINE,
)
_PRESENT = re.compile(r"(?:mountpoint -q|findmnt(?: -\w+)*) (/[\w./-]+)\s*(?:$|[;&])", re.MULTILINE)
_USED = re.compile(r"\b(HSFM_DATA_ROOT|HSFM_CACHE|execution\.storage_path)=[\"']?([^\s\"'\\;]+)")
_LOOPBACK = ("127.0.0.1", "localhost", "::1", "")
_SECRET = re.compile(
    r"\b(\w*(?:PASSWORD|SECRET|TOKEN|ACCESS_KEY|API_KEY)\w*)\s*[=:]\s*[\"']?([^\s\"'$#;]{6,})", re.IGNORECASE
)


def shared_storage(file: ClusterFile) -> Iterator[Finding]:
    """Data, caches and checkpoints lie where every node sees them.

    A shared folder is one that a command mounts over the network (`mount -t nfs4 ... /mnt/shared`), or whose mount a
    command asks for (`mountpoint -q /mnt/shared`, which fails on a host that lacks it); or checkpoints go to an object
    store (`execution.storage_path=s3://...`).
    """
    setup = "\n".join(file.setup)
    shared = sorted(set(_MOUNT.findall(setup)) | set(_PRESENT.findall(setup)))
    commands = "\n".join(line for line in re.sub(r"\\\n\s*#?", " ", file.text).splitlines() if "--grid" in line)
    named = [*_USED.findall(setup), *_USED.findall(commands)]
    used = [(name, path) for name, path in named if not OBJECT_STORE.match(path)]
    stores = [path for name, path in named if name == "execution.storage_path"]
    if not shared and not any(OBJECT_STORE.match(path) for path in stores):
        yield Finding(
            "shared storage",
            "failure",
            "no folder is shared by all nodes: a run that moves to another node would not find its checkpoint",
            "mount one on every node in initialization_commands (mount -t nfs4 ... /mnt/shared), or ask for the "
            "one that is there (mountpoint -q /mnt/shared)",
        )
        return
    if not stores:
        yield Finding(
            "shared storage",
            "warning",
            "no command in the file sets execution.storage_path, without which checkpoints stay on the head",
            f"write the sweep's command down, with execution.storage_path={(shared or ['/mnt/shared'])[0]}/checkpoints",
        )
    for name, path in used:
        if shared and not any(path == one or path.startswith(f"{one}/") for one in shared):
            yield Finding(
                "shared storage",
                "failure",
                f"{name}={path} is in none of the shared folders ({', '.join(shared)})",
                f"{name}={shared[0]}/{path.rstrip('/').rsplit('/', 1)[-1]}",
            )
    if file.docker.get("container_name"):
        options = " ".join(
            str(one)
            for key in ("run_options", "head_run_options", "worker_run_options")
            for one in file.docker.get(key) or ()
        )
        for path in shared:
            if not re.search(rf"(?:-v|--volume)[ =]{re.escape(path)}(?:/\S*)?:|source={re.escape(path)}\b", options):
                yield Finding(
                    "shared storage",
                    "failure",
                    f"{path} is mounted on the hosts, but not into the containers that Ray runs in",
                    f'docker.run_options: ["-v {path}:{path}"]',
                )


def open_doors(text: str) -> Iterator[Finding]:
    """Servers without a password, or with one, listen on the loopback; they are reached through a tunnel."""
    joined = re.sub(r"\\\n\s*#?", " ", text)
    for host in re.findall(r"--dashboard-host[= ]['\"]?([\w.:*]+)", joined):
        if host not in _LOOPBACK:
            yield Finding(
                "loopback only",
                "failure",
                f"Ray's dashboard would listen on {host}: whoever reaches it runs commands on the cluster",
                "--dashboard-host=127.0.0.1, and `ray dashboard FILE` (or ssh -L 8265:127.0.0.1:8265) to look at it",
            )
    for host in re.findall(r"mlflow (?:server|ui)\b[^\n;]*?--host[= ]['\"]?([\w.:*]+)", joined):
        if host not in _LOOPBACK:
            yield Finding(
                "loopback only",
                "failure",
                f"the MLflow server would listen on {host}",
                "--host 127.0.0.1 on the node that drives sweeps: only the driver writes to it; "
                "ssh -L 5000:127.0.0.1:5000 to look at it",
            )


def dashboards(file: ClusterFile) -> Iterator[Finding]:
    """See `open_doors`."""
    yield from open_doors("\n".join([*file.setup, *file.commands(*STARTS)]))


def secrets(text: str) -> Iterator[Finding]:
    """A cluster file is shared and committed: no credential belongs into it."""
    for number, line in enumerate(text.splitlines(), 1):
        named = [name for name, value in _SECRET.findall(line) if PLACEHOLDER not in value and "/" not in value]
        if named or mask_secrets(line) != line:
            yield Finding(
                "no secrets",
                "failure",
                f"line {number} seems to hold a secret" + (f" ({named[0]})" if named else ""),
                "take it out; give it in the environment of the command, or in a file that only its user reads",
            )


def placeholders(text: str) -> Iterator[Finding]:
    """Values that only the user knows."""
    lines = [number for number, line in enumerate(text.splitlines(), 1) if PLACEHOLDER in line]
    if lines:
        yield Finding(
            "placeholders",
            "failure",
            f"{PLACEHOLDER} is still there in line{'s' if len(lines) > 1 else ''} {', '.join(map(str, lines))}",
            "put your own values in; the comments say which",
        )
