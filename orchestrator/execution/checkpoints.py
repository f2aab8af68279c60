"""Checkpoint files of a run: everything that a resume needs, under the run's key.

Layout: `<storage>/<key>/attempt-<n>/last.pt`. Any attempt's file may be read, only the own one is written, so an
orphan of an older attempt cannot disturb the new one. A file is written beside and renamed: it is whole or absent.
Batch order, augmentation and dropout are drawn from counters (seed, step, rank), so there is no random state to keep.
"""

from __future__ import annotations

import contextlib
import io
import pickle
import re
from collections.abc import Iterator
from typing import Any

from pyarrow import fs

from orchestrator.errors import ExecutionError, StorageError

LAST = "last.pt"
_ATTEMPT = re.compile(r"attempt-\d+")
FORMAT = 1


def _open(storage: str) -> tuple[fs.FileSystem, str]:
    """Local folders and object stores (s3://, gs://) through one interface."""
    return fs.FileSystem.from_uri(storage) if "://" in storage else (fs.LocalFileSystem(), storage)


@contextlib.contextmanager
def _on_storage(doing: str, place: str) -> Iterator[None]:
    """Tell what the storage refuses apart from what a run does wrong.

    Raises:
        StorageError: the storage cannot be read or written.
    """
    try:
        yield
    except OSError as error:
        raise StorageError(f"{place} cannot be {doing}: {error}; free space there, or mend the place") from error


def run_folder(storage: str, key: str) -> str:
    """Where everything of one run lies."""
    return f"{storage.rstrip('/')}/{key}"


def save(storage: str, key: str, attempt: int, state: dict[str, Any]) -> None:
    """Write `state` (tensors and plain values) as the newest checkpoint of this attempt.

    Raises:
        StorageError: it cannot be written.
    """
    import torch

    buffer = io.BytesIO()
    torch.save({"format": FORMAT, "key": key, "attempt": attempt, **state}, buffer)
    _write(run_folder(storage, key), f"attempt-{attempt}", LAST, buffer.getbuffer())


def load_newest(
    storage: str, key: str, map_location: str = "cpu", *, unreadable: list[str] | None = None
) -> dict[str, Any] | None:
    """The checkpoint with the most steps over all attempts, or None.

    A file that cannot be read (cut off by a full disk) is passed over in favour of an older attempt's, and named in
    `unreadable`.

    Raises:
        ExecutionError: a checkpoint of another run lies under this key.
        StorageError: the storage cannot be read.
    """
    newest: dict[str, Any] | None = None
    for path, data in _attempts(run_folder(storage, key)):
        state = _state_in(data, map_location)
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


def _attempts(folder: str) -> Iterator[tuple[str, bytes]]:
    """Path and content of the checkpoint of every attempt that has one, one at a time."""
    with _on_storage("read", folder):
        system, base = _open(folder)
        selector = fs.FileSelector(base, allow_not_found=True)
        found = sorted(info.path for info in system.get_file_info(selector) if _ATTEMPT.fullmatch(info.base_name))
    for attempt in found:
        path = f"{attempt}/{LAST}"
        with _on_storage("read", path):
            if system.get_file_info(path).type != fs.FileType.File:
                continue
            with system.open_input_stream(path) as stream:
                data = stream.read()
        yield path, data


def _state_in(data: bytes, map_location: str) -> dict[str, Any] | None:
    import torch

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
    """Write a file of the run; its full path.

    Raises:
        StorageError: it cannot be written.
    """
    return _write(run_folder(storage, key), "", name, data)


def _write(folder: str, inside: str, name: str, data: bytes | memoryview) -> str:
    """Write a file beside its place and rename it; its full path."""
    path = "/".join(part for part in (folder, inside, name) if part)
    with _on_storage("written", path):
        system, base = _open(folder)
        target = "/".join(part for part in (base, inside) if part)
        system.create_dir(target, recursive=True)
        with system.open_output_stream(f"{target}/{name}.part") as stream:
            stream.write(data)
        system.move(f"{target}/{name}.part", f"{target}/{name}")
    return path


def drop_attempts(storage: str, key: str) -> None:
    """Remove the checkpoints of a run that is closed; its other files stay."""
    system, base = _open(run_folder(storage, key))
    for info in system.get_file_info(fs.FileSelector(base, allow_not_found=True)):
        if info.base_name.startswith("attempt-"):
            system.delete_dir(info.path)


def has_file(storage: str, key: str, name: str) -> bool:
    """Whether a run has left a file of this name.

    Raises:
        StorageError: the storage cannot be read.
    """
    base = run_folder(storage, key)
    with _on_storage("read", base):
        system, folder = _open(base)
        return bool(system.get_file_info(f"{folder}/{name}").type == fs.FileType.File)


def read_bytes(storage: str, key: str, name: str) -> bytes:
    """A file that `write_bytes` wrote.

    Raises:
        StorageError: it cannot be read.
    """
    base = run_folder(storage, key)
    with _on_storage("read", f"{base}/{name}"):
        system, folder = _open(base)
        with system.open_input_stream(f"{folder}/{name}") as stream:
            return bytes(stream.read())
