"""Whether this machine can carry three hosts: namespaces, an SSH server, and the right to use them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys

TOOLS = {
    "ip": "iproute2",
    "unshare": "util-linux",
    "mount": "util-linux",
    "ssh": "openssh-client",
    "ssh-keygen": "openssh-client",
    "sshd": "openssh-server",
    "rsync": "rsync",
    "pgrep": "procps",
}
"""Program and the Debian package that has it. `ray up` itself calls ssh and rsync; the cluster file calls pgrep."""
UNSHARE = ("unshare", "--net", "--pid", "--mount", "--uts", "--ipc", "--fork", "--kill-child", "--mount-proc")
"""A world of its own: whatever is made in it ends with its first process."""
_TRIAL = (
    "ip link set lo up && ip link add bridge0 type bridge && ip link add one type veth peer name two && "
    "mount -t tmpfs tmpfs /run && hostname trial && "
    f"{' '.join(UNSHARE)} true"
)


def find(tool: str) -> str | None:
    """Where a program is; system folders count although a user's PATH may lack them."""
    return shutil.which(tool, path=f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin:/usr/bin:/bin")


def why_not() -> str:
    """Why the test cannot run here, and what to do; empty where it can."""
    if not sys.platform.startswith("linux"):
        return f"network namespaces need Linux, this is {sys.platform}"
    if os.geteuid() != 0:
        return f"making network namespaces needs root, this is user {os.geteuid()}; run it as root"
    missing = [tool for tool in TOOLS if find(tool) is None]
    if missing:
        packages = " ".join(sorted({TOOLS[tool] for tool in missing}))
        return f"{', '.join(missing)} not found; `apt-get install {packages}`, or --install on Debian"
    trial = subprocess.run([*UNSHARE, "sh", "-c", _TRIAL], capture_output=True, text=True, timeout=60)
    if trial.returncode:
        said = (trial.stderr.strip().splitlines() or ["no message"])[-1]
        return f"this machine allows no namespaces ({said}); in a container they need --privileged"
    try:
        import aiohttp_cors  # noqa: F401
        import colorful  # noqa: F401
    except ImportError as error:
        return f"`ray up` needs ray[default], and {error.name} is missing; pip install 'ray[default]'"
    return ""


def install() -> str:
    """Install what is missing with apt-get, as root; a sentence where that fails, else empty."""
    packages = sorted({TOOLS[tool] for tool in TOOLS if find(tool) is None})
    if not packages:
        return ""
    if os.geteuid() != 0 or find("apt-get") is None:
        return f"--install needs root and apt-get; install {' '.join(packages)} by hand"
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    # A package of a server starts it: this one is only to be called by the test.
    policy = "/usr/sbin/policy-rc.d"
    is_mine = not os.path.exists(policy)
    if is_mine:
        with open(policy, "w") as file:
            file.write("#!/bin/sh\nexit 101\n")
        os.chmod(policy, 0o755)
    try:
        words = (
            ["apt-get", "update", "-qq"],
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
        )
        for command in words:
            done = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300)
        if done.returncode:
            return f"apt-get install {' '.join(packages)} failed: {(done.stderr.strip().splitlines() or ['?'])[-1]}"
    except subprocess.TimeoutExpired:
        return f"apt-get install {' '.join(packages)} took longer than 300 s"
    finally:
        if is_mine:
            os.unlink(policy)
    return ""
