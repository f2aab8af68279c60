"""Speaks for a driver that cannot: one that was killed, or that Ray's own code has ended with the process."""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Iterator

_SAY = 'read -r word || echo "hsfm-sweep: the driver (process $0) has died without a word; nothing that is finished is \
lost, the same command goes on" >&2'


@contextlib.contextmanager
def last_words() -> Iterator[None]:
    """While inside, a shell waits at a pipe; if this process ends without leaving, it says how to go on.

    A raylet that dies while a driver registers with it ends the driver from within Ray's C++ code, and a kill -9 or the
    system's memory killer leave no chance at all.
    """
    try:
        # in a session of its own: Ctrl-C is for the driver
        waiting = subprocess.Popen(["sh", "-c", _SAY, str(os.getpid())], stdin=subprocess.PIPE, start_new_session=True)
    except OSError:  # no shell: then nobody speaks
        yield
        return
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            waiting.communicate(b"left\n", timeout=5)
