"""`python -m tests.three_hosts`: a sweep on a cluster of three hosts, one of which is cut off, against one host.

The hosts are network, process, mount and name namespaces of this machine, each with an SSH server of its own; `ray up`
makes them a cluster as it would three machines of a lab. Ends with 0 if all went as promised, also where this machine
cannot carry hosts (it then prints SKIPPED and why), else with 1.
"""

from __future__ import annotations

import argparse
import ctypes
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import psutil

from tests.three_hosts.ground import UNSHARE, install, why_not

ROOT = Path(__file__).resolve().parents[2]
_KILL_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def main(arguments: Sequence[str] | None = None) -> int:
    given = _parse(arguments)
    if given.inside:
        return _inside(given)
    problem = install() if given.install else ""
    if problem := problem or why_not():
        print(f"SKIPPED: {problem}")
        return 0
    world = Path(tempfile.mkdtemp(prefix="hsfm-hosts-")).resolve()
    status = 1
    try:
        status = _in_namespaces(world, given)
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):  # all processes are ended; a second signal must not leave files
            signal.signal(number, signal.SIG_IGN)
        if status and given.keep:
            shutil.rmtree(given.keep, ignore_errors=True)
            shutil.copytree(world, given.keep, symlinks=True, ignore_dangling_symlinks=True, ignore=_sockets)
            print(f"kept:      {given.keep}")
        shutil.rmtree(world, ignore_errors=True)
    return status


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.three_hosts", description=__doc__)
    parser.add_argument("--install", action="store_true", help="as root, install what is missing with apt-get")
    parser.add_argument("--keep", type=Path, metavar="DIR", help="where it fails, copy everything there (replaces DIR)")
    parser.add_argument(
        "--patience", type=float, default=1.0, metavar="N", help="wait N times as long for everything (a busy machine)"
    )
    parser.add_argument("--inside", type=Path, help=argparse.SUPPRESS)
    return parser.parse_args(arguments)


def _sockets(folder: str, names: list[str]) -> set[str]:
    return {name for name in names if (Path(folder) / name).is_socket() or name == "env"}


def _in_namespaces(world: Path, given: argparse.Namespace) -> int:
    """Call this module again as the first process of its own namespaces: with it ends all that it has started.

    No name, bridge, mount or process of the lab ever exists outside, so nothing can be left behind there, however the
    test ends.
    """
    kept = [str(Path(p).resolve()) for p in (ROOT, sys.prefix, sys.base_prefix)]
    words = [*UNSHARE, "bash", str(ROOT / "tests" / "three_hosts" / "inside.sh"), str(world), *kept, "--"]
    words += [sys.executable, "-m", "tests.three_hosts", "--inside", str(world), "--patience", str(given.patience)]
    process = subprocess.Popen(words, cwd=ROOT, stdin=subprocess.DEVNULL, preexec_fn=_die_with_parent)

    def end(number: int, _: Any) -> None:
        print(f"stopped by {signal.Signals(number).name}; all hosts are ended", flush=True)
        raise SystemExit(128 + number)

    signal.signal(signal.SIGTERM, end)
    try:
        status = process.wait()
        if status < 0:
            print(f"the lab was ended from outside, by {signal.Signals(-status).name}")
        return status
    finally:
        if process.poll() is None:
            first = psutil.Process(process.pid).children()
            process.kill()  # its child is the first process of the namespaces: it ends, too, and all others before it
            process.wait()
            psutil.wait_procs(first, timeout=60)


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(_KILL_WITH_PARENT, signal.SIGKILL)


def _inside(given: argparse.Namespace) -> int:
    from tests.three_hosts.lab import Lab
    from tests.three_hosts.story import GRID, Story
    from tests.three_hosts.timeline import problems, summary, table

    if os.getpid() != 1:
        print("--inside is called by the test itself", file=sys.stderr)
        return 2
    began_s = time.monotonic()
    lab = Lab(given.inside, GRID)
    told = Story(lab, _tell, given.patience).play()
    print("\n".join(["", *table(told), "", *summary(told)]))
    wrong = problems(told)
    if told.error:
        _show_logs(lab)
    print(f"took:      {time.monotonic() - began_s:.0f} s", flush=True)
    return 1 if wrong else 0


def _tell(at_s: float, text: str) -> None:
    print(f"{at_s:>7.1f}  {text}", flush=True)


def _show_logs(lab: Any) -> None:
    """The ends of all outputs: the only trace where everything else is thrown away."""
    for log in [*sorted(lab.laptop.glob("*.log")), *sorted((lab.world / "hosts").glob("*/console.log"))]:
        tail = log.read_text(errors="replace").splitlines()[-12:]
        print("\n".join([f"-- {log.relative_to(lab.world)}", *tail]))


if __name__ == "__main__":
    sys.exit(main())
