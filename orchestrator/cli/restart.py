"""Starts the command anew, in the same process, when the Ray that it had started has died."""

from __future__ import annotations

import os
import sys
from typing import NoReturn

from orchestrator.errors import ClusterLostError

COUNT = "HSFM_RESTARTS"
"""Environment variable that carries the number of restarts in a row without progress."""


def may_restart(error: ClusterLostError) -> bool:
    """Whether the Ray was this command's own, and it was not lost too often without progress."""
    return error.is_local and _count(error) < error.restarts


def restart(error: ClusterLostError) -> NoReturn:
    """Replace this process by the same command."""
    print(f"hsfm-sweep: {error}\nhsfm-sweep: starting Ray anew", file=sys.stderr, flush=True)
    os.environ[COUNT] = str(_count(error) + 1)
    sys.stdout.flush()
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def _count(error: ClusterLostError) -> int:
    return 0 if error.had_progress else int(os.environ.get(COUNT, "0"))
