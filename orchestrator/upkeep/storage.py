"""A folder of files that `gc` lists and deletes in: on a disk, or in an object store. Never leaves the folder."""

from __future__ import annotations

import contextlib
import os
import shutil
import stat
from abc import ABC, abstractmethod
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from orchestrator.errors import ExecutionError

if TYPE_CHECKING:
    from pyarrow import fs


@dataclass(frozen=True)
class Entry:
    """One thing in a folder."""

    path: str
    """Relative to the storage's root, parts joined by '/'."""
    kind: str
    """file, folder or link."""
    changed: float
    """Seconds since 1970; 0 where the store does not say."""
    size: int = 0
    """Bytes of a file."""

    @property
    def name(self) -> str:
        return self.path.rsplit("/", 1)[-1]


class Storage(ABC):
    """What `gc` may do in a folder."""

    address: str
    """The root as the user knows it."""

    @abstractmethod
    def entries(self, path: str = "") -> list[Entry]:
        """What lies directly in a folder, by name; nothing where it does not exist."""

    @abstractmethod
    def delete(self, entry: Entry) -> None:
        """Delete a file or a whole folder; a link is removed, what it points to stays."""

    def tree(self, path: str) -> Iterator[Entry]:
        """Everything below a folder; links are not followed."""
        for entry in self.entries(path):
            yield entry
            if entry.kind == "folder":
                yield from self.tree(entry.path)

    def measure(self, entry: Entry) -> tuple[int, float]:
        """Bytes of an entry with all that is in it, and when the newest part of it was changed."""
        if entry.kind != "folder":
            return entry.size, entry.changed
        inside = list(self.tree(entry.path))
        return sum(one.size for one in inside), max([entry.changed, *(one.changed for one in inside)])

    def place(self, path: str) -> str:
        """Where an entry lies, for a person."""
        return f"{self.address.rstrip('/')}/{path}"


class DiskStorage(Storage):
    """A folder of this machine. The root may be a link, as a user may have made it; nothing below it is followed."""

    def __init__(self, root: Path) -> None:
        self.address = str(root)
        self._root = root.resolve()

    def entries(self, path: str = "") -> list[Entry]:
        folder = self._inside(path)
        found = []
        try:
            with os.scandir(folder) as scan:
                for item in scan:
                    if (entry := self._entry(path, item)) is not None:
                        found.append(entry)
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(found, key=lambda entry: entry.path)

    def delete(self, entry: Entry) -> None:
        target = self._inside(entry.path)
        mode = target.lstat().st_mode
        if stat.S_ISDIR(mode):
            shutil.rmtree(target)  # does not follow links inside, and refuses to start at one
        else:
            target.unlink()

    def drop_if_empty(self, path: str) -> None:
        """Remove a folder that holds nothing."""
        with contextlib.suppress(OSError):  # not empty
            self._inside(path).rmdir()

    @staticmethod
    def _entry(folder: str, item: os.DirEntry[str]) -> Entry | None:
        try:
            facts = item.stat(follow_symlinks=False)
        except FileNotFoundError:
            return None
        kind = "link" if item.is_symlink() else "folder" if item.is_dir(follow_symlinks=False) else "file"
        path = f"{folder}/{item.name}" if folder else item.name
        return Entry(path, kind, facts.st_mtime, facts.st_size if kind == "file" else 0)

    def _inside(self, path: str) -> Path:
        """The real place of a path, none of whose folders may be a link that leads elsewhere.

        Raises:
            ExecutionError: it would lead out of the root.
        """
        target = self._root.joinpath(*filter(None, path.split("/")))
        parent = target.parent if path else target
        if ".." in path.split("/") or (parent != self._root and self._root not in parent.parents):
            raise ExecutionError(f"{path!r} leads out of {self._root}; only what lies in it may be deleted")
        if parent.resolve() != parent or target.is_symlink() and not path:
            raise ExecutionError(
                f"{target} lies behind a symbolic link; remove the link, or what it points to, by hand"
            )
        return target


class RemoteStorage(Storage):
    """A prefix in an object store, by way of pyarrow."""

    def __init__(self, address: str, system: fs.FileSystem, root: str) -> None:
        self.address, self._system, self._root = address, system, root.rstrip("/")

    def entries(self, path: str = "") -> list[Entry]:
        from pyarrow import fs

        selector = fs.FileSelector(f"{self._root}/{path}".rstrip("/"), allow_not_found=True)
        kinds = {fs.FileType.File: "file", fs.FileType.Directory: "folder"}
        found = [
            Entry(
                f"{path}/{info.base_name}" if path else info.base_name,
                kinds.get(info.type, "link"),
                info.mtime.timestamp() if info.mtime else 0.0,
                info.size or 0,
            )
            for info in self._system.get_file_info(selector)
        ]
        return sorted(found, key=lambda entry: entry.path)

    def delete(self, entry: Entry) -> None:
        if not entry.path or ".." in entry.path.split("/"):
            raise ExecutionError(f"{entry.path!r} leads out of {self.address}; only what lies in it may be deleted")
        target = f"{self._root}/{entry.path}"
        if entry.kind == "folder":
            self._system.delete_dir(target)
        else:
            self._system.delete_file(target)


@contextmanager
def sorted_errors(address: str) -> Iterator[None]:
    """Turn what a disk or an object store raises into one kind of error."""
    try:
        yield
    except (OSError, ValueError) as error:  # pyarrow: a ValueError for an address that it does not understand
        raise ExecutionError(f"storage {address} cannot be used: {error}; correct execution.storage_path") from error


def open_storage(address: str) -> Storage:
    """A local folder or an object store (s3://, gs://) through one interface.

    Raises:
        ExecutionError: an address that is not understood, or a store that does not answer.
    """
    if "://" not in address:
        return DiskStorage(Path(address).expanduser())
    if address.startswith("file://"):
        return DiskStorage(Path(unquote(urlparse(address).path)))
    from pyarrow import fs

    with sorted_errors(address):
        system, root = fs.FileSystem.from_uri(address)
    return RemoteStorage(address, system, root)
