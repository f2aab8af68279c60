"""Hosts on one machine: each has its own network, processes, mounts, name, disk and SSH server."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil

from tests.three_hosts.ground import UNSHARE, find

ROOT = Path(__file__).resolve().parents[2]
NETWORK = "10.77.0"
GATEWAY = f"{NETWORK}.1"
BRIDGE = "lab"
BOOT_LIMIT_S = 60.0


class HostError(Exception):
    """A host or its network did not do what it was told."""


def run(*words: str) -> str:
    """Output of a program that must succeed."""
    done = subprocess.run(words, capture_output=True, text=True)
    if done.returncode:
        raise HostError(
            f"`{' '.join(words)}` ended with {done.returncode}: {done.stderr.strip() or done.stdout.strip()}"
        )
    return done.stdout


def make_network() -> None:
    """The cable between the hosts, and the place of the laptop on it."""
    run("ip", "link", "set", "lo", "up")
    run("ip", "link", "add", BRIDGE, "type", "bridge")
    run("ip", "addr", "add", f"{GATEWAY}/24", "dev", BRIDGE)
    run("ip", "link", "set", BRIDGE, "up")
    run("ip", "route", "add", "default", "dev", BRIDGE)  # leads nowhere; Ray finds its own address by it


def make_keys(world: Path) -> Path:
    """A throw-away key pair that opens every host, and the settings of their servers; the private key."""
    folder = world / "keys"
    folder.mkdir(mode=0o700)
    for name in ("key", "host_key"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / name))
    shutil.copy(folder / "key.pub", folder / "authorized_keys")
    settings = {
        "Port": "22",
        "HostKey": str(folder / "host_key"),
        "AuthorizedKeysFile": str(folder / "authorized_keys"),
        "PermitRootLogin": "prohibit-password",
        "PasswordAuthentication": "no",
        "KbdInteractiveAuthentication": "no",
        "StrictModes": "no",  # the folder above may be anybody's, such as /tmp
        "UsePAM": "no",
        "PidFile": "none",
        "MaxStartups": "100",
        "UseDNS": "no",
    }
    (folder / "sshd_config").write_text("".join(f"{name} {value}\n" for name, value in settings.items()))
    return folder / "key"


class Host:
    """One host: booted, cut off, plugged in again, switched off. Its disk stays."""

    def __init__(self, world: Path, name: str, number: int, cpus: int) -> None:
        self.name, self.cpus, self.world = name, cpus, world
        self.address = f"{NETWORK}.{number}"
        self.own = world / "hosts" / name
        self.disk = self.own / "disk"
        """What this host sees as `world / "disk"`."""
        self._first: subprocess.Popen[bytes] | None = None
        self.disk.mkdir(parents=True)
        (self.disk / "cpus").write_text(f"{cpus}\n")

    def boot(self) -> None:
        """Start the host; returns when its SSH server listens."""
        kept = [sys.prefix, str(ROOT), sys.base_prefix]
        words = [*UNSHARE, "bash", str(ROOT / "tests" / "three_hosts" / "host.sh"), self.name, self.address, GATEWAY]
        words += [str(self.world), str(Path.home().resolve()), *(str(Path(p).resolve()) for p in kept)]
        plain = {"PATH": f"{os.environ.get('PATH', '')}:/usr/sbin:/sbin", "HOME": str(Path.home()), "LANG": "C.UTF-8"}
        with (self.own / "console.log").open("ab") as console:
            self._first = subprocess.Popen(
                words, stdin=subprocess.DEVNULL, stdout=console, stderr=console, env=plain, start_new_session=True
            )
        deadline = time.monotonic() + BOOT_LIMIT_S
        while os.readlink(f"/proc/{self._first.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            self._check(deadline)
        run("ip", "link", "add", self._cable, "type", "veth", "peer", "name", "eth0", "netns", str(self._first.pid))
        run("ip", "link", "set", self._cable, "master", BRIDGE, "up")
        while not self._listens():
            self._check(deadline)

    def _check(self, deadline: float) -> None:
        if self._first is None or self._first.poll() is not None or time.monotonic() > deadline:
            said = (self.own / "console.log").read_text(errors="replace").strip().splitlines()[-3:]
            raise HostError(f"host {self.name} did not come up: {' / '.join(said) or 'it said nothing'}")
        time.sleep(0.05)

    def _listens(self) -> bool:
        import socket

        try:
            with socket.create_connection((self.address, 22), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    @property
    def _cable(self) -> str:
        return f"to-{self.name}"

    def cut(self) -> None:
        """Pull the network cable: the host works on and hears nobody."""
        run("ip", "link", "set", self._cable, "down")

    def switch_off(self) -> None:
        """Everything on the host ends at once; its network is gone with it."""
        if self._first is None:
            return
        for child in psutil.Process(self._first.pid).children():
            child.kill()
        try:
            self._first.wait(10)
        except subprocess.TimeoutExpired:
            self._first.send_signal(signal.SIGKILL)
            self._first.wait(10)
        self._first = None
        deadline = time.monotonic() + 10
        while self._cable in run("ip", "-brief", "link") and time.monotonic() < deadline:
            time.sleep(0.1)  # the kernel takes a namespace down in its own time
        subprocess.run(["ip", "link", "del", self._cable], capture_output=True)

    def processes(self) -> list[psutil.Process]:
        """All living processes of the host but its first one and the SSH server's own."""
        if self._first is None:
            return []
        found = []
        for process in psutil.Process(self._first.pid).children(recursive=True)[1:]:
            try:
                if process.status() != psutil.STATUS_ZOMBIE and process.name() != "sshd":
                    found.append(process)
            except psutil.Error:
                continue
        return found

    def ssh(self, command: str) -> list[str]:
        """The words that run a command on this host, from the laptop."""
        options = ["BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR"]
        flags = [word for option in options for word in ("-o", option)]
        return [find("ssh") or "ssh", *flags, "-i", str(self.world / "keys" / "key"), f"root@{self.address}", command]
