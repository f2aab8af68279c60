"""Whom an exception of a worker is blamed on: the run, its memory, the storage, or a peer that went away."""

from __future__ import annotations

import errno
import traceback
from typing import Any

import ray
import torch
import torch.distributed as dist

from orchestrator.errors import PreparedDataError, StorageError

# What gloo, NCCL and CUDA say when another rank or the device goes away; they raise plain RuntimeErrors.
_PASSING_WORDS = ("cuda error", "connection closed by peer", "connection reset by peer", "broken pipe", "gloo", "nccl")
_MEMORY_WORDS = ("out of memory", "can't allocate memory", "cannot allocate memory")

_STORAGE_ERRNOS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EIO, errno.EROFS, errno.ESTALE})
"""What a disk says of itself, whoever asked it; other OSErrors are the asker's fault."""


def failure_event(error: BaseException) -> dict[str, Any]:
    """An exception as plain data, classified for the failure policy.

    Causes: `lost` (a peer or the cluster went away: try again), `out_of_memory`, `storage` (a disk, or a prepared
    store: try again), `run_error` (the run itself is wrong, a file that its strategy does not find included: trying
    again would fail again).
    """
    text = str(error).strip() or type(error).__name__
    low = text.lower()
    if isinstance(error, MemoryError | torch.OutOfMemoryError) or any(word in low for word in _MEMORY_WORDS):
        cause = "out_of_memory"
    elif isinstance(error, ray.exceptions.RayError | dist.DistError) or any(word in low for word in _PASSING_WORDS):
        cause = "lost"
    elif isinstance(error, StorageError | PreparedDataError) or (
        isinstance(error, OSError) and error.errno in _STORAGE_ERRNOS
    ):
        cause = "storage"
    else:
        cause = "run_error"
    message = f"{type(error).__name__}: {text}"
    return {
        "kind": "failed",
        "cause": cause,
        "error": message[:2000],
        "traceback": "".join(traceback.format_exception(error)),
    }
