"""One driver a folder: a file lock that the kernel gives back when its process dies, however it dies."""

from __future__ import annotations

import fcntl
import json
import os
import struct
import threading
import time
from pathlib import Path
from typing import Any

LOCK_NAME = "driver.lock"
HOLDER_NAME = "driver.json"

# POSIX locks belong to the process: they do not keep out its own threads, forked children do not inherit them, and
# closing any other descriptor of the file drops them. So a path is opened once a process, and this set knows which.
_held: set[Path] = set()
_guard = threading.Lock()


class FolderLock:
    """A lock on `folder`, and a note that says who holds it."""

    def __init__(self, folder: Path) -> None:
        self._path = folder.resolve() / LOCK_NAME
        self._holder_path = folder.resolve() / HOLDER_NAME
        self._descriptor: int | None = None

    def acquire(self, holder: dict[str, Any], *, wait_s: float = 0.0) -> bool:
        """Take the lock, within `wait_s` seconds; False where another driver keeps it."""
        deadline = time.monotonic() + wait_s
        while not self._try():
            if time.monotonic() >= deadline:
                return False
            time.sleep(0.1)
        temporary = self._holder_path.with_suffix(f".{os.getpid()}")
        temporary.write_text(json.dumps(holder))
        temporary.replace(self._holder_path)
        return True

    def _try(self) -> bool:
        with _guard:
            if self._path in _held:
                return False
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError:
                os.close(descriptor)
                return False
            _held.add(self._path)
            self._descriptor = descriptor
            return True

    def holder(self) -> dict[str, Any]:
        """Who holds the lock, as far as the note tells."""
        try:
            data = json.loads(self._holder_path.read_text())
        except (OSError, ValueError):
            return {}
        return data if isinstance(data, dict) else {}

    def release(self) -> None:
        """Give the lock back; does nothing where it is not held."""
        with _guard:
            if self._descriptor is None:
                return
            os.close(self._descriptor)
            self._descriptor = None
            _held.discard(self._path)


def is_locked(folder: Path) -> bool | None:
    """Whether a driver on this machine holds the lock of `folder`, asked without taking it; None = cannot be told."""
    path = folder.resolve() / LOCK_NAME
    with _guard:
        if path in _held:
            return True  # opening the file here and closing it would give our own lock away
        try:
            descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return False
        except OSError:
            return None
        try:
            # struct flock of Linux: type, whence, start, length, process; the kernel writes who is in the way
            wish = struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, wish)
            return bool(struct.unpack("hhqqi4x", answer)[0] != fcntl.F_UNLCK)
        except (OSError, struct.error):
            return None
        finally:
            os.close(descriptor)
