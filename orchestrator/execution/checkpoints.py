"""Checkpoint files of a run: everything that a resume needs, under the run's key.

Layout: `<storage>/<key>/attempt-<n>/last.pt`. Any attempt's file may be read, only the own one is written, so an
orphan of an older attempt cannot disturb the new one. A file is written beside and renamed: it is whole or absent.
Batch order, augmentation and dropout are drawn from counters (seed, step, rank), so there is no random state to keep.
"""

from __future__ import annotations

import io
import pickle
import re
from typing import Any

from pyarrow import fs

from orchestrator.errors import ExecutionError

LAST = "last.pt"
FORMAT = 1


def _open(storage: str) -> tuple[fs.FileSystem, str]:
    """Local folders and object stores (s3://, gs://) through one interface."""
    return fs.FileSystem.from_uri(storage) if "://" in storage else (fs.LocalFileSystem(), storage)


def run_folder(storage: str, key: str) -> str:
    """Where everything of one run lies."""
    return f"{storage.rstrip('/')}/{key}"


def save(storage: str, key: str, attempt: int, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) as the newest checkpoint of this attempt."""
    import torch

    system, base = _open(run_folder(storage, key))
    folder = f"{base}/attempt-{attempt}"
    system.create_dir(folder, recursive=True)
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "key": key, "attempt": attempt, **state}, buffer)
    with system.open_output_stream(f"{folder}/{LAST}.part") as stream:
        stream.write(buffer.getbuffer())
    system.move(f"{folder}/{LAST}.part", f"{folder}/{LAST}")


def load_newest(
    storage: str, key: str, map_location: str = "cpu", *, unreadable: list[str] | None = None
) -> dict[str, Any] | None:
    """The checkpoint with the most steps over all attempts, or None.

    A file that cannot be read (cut off by a full disk) is passed over in favour of an older attempt's, and named in
    `unreadable`.

    Raises:
        ExecutionError: a checkpoint of another run lies under this key.
    """
    system, base = _open(run_folder(storage, key))
    selector = fs.FileSelector(base, allow_not_found=True)
    newest: dict[str, Any] | None = None
    for info in sorted(system.get_file_info(selector), key=lambda i: i.path):
        if not re.fullmatch(r"attempt-\d+", info.base_name):
            continue
        path = f"{info.path}/{LAST}"
        if system.get_file_info(path).type != fs.FileType.File:
            continue
        state = _read(system, path, map_location)
        if state is None:
            if unreadable is not None:
                unreadable.append(path)
            continue
        if state.get("key") != key:
            raise ExecutionError(
                f"{path} is a checkpoint of run {state.get('key')!r}, not of {key!r}; "
                "move it out of the way and start again"
            )
        if newest is None or state["step"] >= newest["step"]:
            newest = state
    return newest


def _read(system: fs.FileSystem, path: str, map_location: str) -> dict[str, Any] | None:
    import torch

    with system.open_input_stream(path) as stream:
        data = stream.read()
    try:
        state = torch.load(io.BytesIO(data), map_location=map_location, weights_only=True)
    except (
        RuntimeError,
        EOFError,
        ValueError,
        pickle.UnpicklingError,
    ):  # torn file: torch has no exception of its own for it
        return None
    return state if isinstance(state, dict) and state.get("format") == FORMAT else None


def write_bytes(storage: str, key: str, name: str, data: bytes) -> str:
    """Write a file of the run; its full path."""
    system, base = _open(run_folder(storage, key))
    system.create_dir(base, recursive=True)
    with system.open_output_stream(f"{base}/{name}.part") as stream:
        stream.write(data)
    system.move(f"{base}/{name}.part", f"{base}/{name}")
    return f"{run_folder(storage, key)}/{name}"


def drop_attempts(storage: str, key: str) -> None:
    """Remove the checkpoints of a run that is closed; its other files stay."""
    system, base = _open(run_folder(storage, key))
    for info in system.get_file_info(fs.FileSelector(base, allow_not_found=True)):
        if info.base_name.startswith("attempt-"):
            system.delete_dir(info.path)
