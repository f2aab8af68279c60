"""Archives of data sets: unpacked whole or not at all, never outside of their folder, with a password where they need.

zip files without a password, or with the old cipher, are read by Python itself. AES in zip files and the 7z format need
the optional libraries `pyzipper` and `py7zr` (extra `archive`): both are maintained and install as wheels.
"""

from __future__ import annotations

import os
import shutil
import stat
import tempfile
import zipfile
from pathlib import Path, PurePosixPath
from typing import Any

from orchestrator.datasets._base import Archive, Progress
from orchestrator.errors import ConfigError, DataError

SEVEN_ZIP = b"7z\xbc\xaf\x27\x1c"
AES_METHOD = 99
EXTRA = 'pip install "hsfm-sweep[archive]"'


def password_of(archive: Archive) -> str:
    """The password from the environment; empty where the archive has none. It is never stored or shown.

    Raises:
        DataError: the variable is not set.
    """
    if not archive.password_variable:
        return ""
    found = os.environ.get(archive.password_variable, "")
    if not found:
        raise DataError(
            f"{archive.url} needs a password, and {archive.password_variable} is not set; {archive.if_it_fails}"
        )
    return found


def unpack(file: Path, target: Path, password: str = "", progress: Progress | None = None) -> None:
    """Unpack an archive into a folder that is not there yet, or is empty.

    Raises:
        DataError: a damaged archive, a wrong password, a member that would leave the folder, or no room.
        ConfigError: a library is missing.
    """
    if target.is_dir() and any(target.iterdir()):
        raise DataError(f"{target} holds files already; empty it to unpack {file.name} there")
    with file.open("rb") as handle:
        is_seven_zip = handle.read(len(SEVEN_ZIP)) == SEVEN_ZIP
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        unpacking = Path(tempfile.mkdtemp(prefix=f".unpacking-{target.name}-", dir=target.parent))
        try:
            (_unpack_seven_zip if is_seven_zip else _unpack_zip)(file, unpacking, password, progress)
            unpacking.chmod(0o755)
            if target.is_dir():
                target.rmdir()
            unpacking.rename(target)
        finally:
            shutil.rmtree(unpacking, ignore_errors=True)
    except OSError as error:
        raise DataError(f"cannot unpack {file} into {target}: {error}; free some room or mend the folder") from error


def _check_member(file: Path, name: str, *, is_link: bool) -> None:
    path = PurePosixPath(name.replace("\\", "/"))
    if is_link or path.is_absolute() or ".." in path.parts or (path.parts and path.parts[0].endswith(":")):
        raise DataError(
            f"{file} holds the member {name!r}, which {'is a link' if is_link else 'would leave its folder'}; nothing "
            "was unpacked: this is not the archive that was published"
        )


def _unpack_zip(file: Path, folder: Path, password: str, progress: Progress | None) -> None:
    if not zipfile.is_zipfile(file):
        raise DataError(f"{file} ({file.stat().st_size} bytes) is no zip or 7z file; delete it and fetch it again")
    with zipfile.ZipFile(file) as listed:
        members = listed.infolist()
        has_aes = any(member.compress_type == AES_METHOD for member in members)
        for member in members:
            _check_member(file, member.filename, is_link=stat.S_ISLNK(member.external_attr >> 16))
    library: Any = _library("pyzipper", file) if has_aes else zipfile
    opener = library.AESZipFile if has_aes else library.ZipFile
    try:
        with opener(file) as archive:
            for index, member in enumerate(archive.infolist()):
                archive.extract(member, folder, pwd=password.encode() or None)
                if progress:
                    progress(f"unpacking {member.filename}", index + 1, len(members))
    except (RuntimeError, zipfile.BadZipFile, library.BadZipFile) as error:
        raise _cannot(file, error, password) from error


def _unpack_seven_zip(file: Path, folder: Path, password: str, progress: Progress | None) -> None:
    library = _library("py7zr", file)
    try:
        with library.SevenZipFile(file, password=password or None) as archive:
            for member in archive.files:
                _check_member(file, member.filename, is_link=bool(member.is_symlink or member.is_junction))
            if progress:
                progress(f"unpacking {file.name}", 0, None)
            archive.extractall(path=folder)
    except (library.exceptions.ArchiveError, OSError, EOFError) as error:
        raise _cannot(file, error, password) from error
    # With a wrong password the library hands what it decrypted to the decompressor, which fails in its own ways.
    except Exception as error:
        if isinstance(error, DataError):
            raise
        raise _cannot(file, error, password) from error


def _cannot(file: Path, error: Exception, password: str) -> DataError:
    """Says nothing of the password but whether there was one; the library's own words could."""
    hint = "the password is wrong, or the file is damaged" if password else "it needs a password, or it is damaged"
    return DataError(f"cannot unpack {file} ({type(error).__name__}): {hint}; nothing was unpacked")


def _library(name: str, file: Path) -> Any:
    import importlib

    try:
        return importlib.import_module(name)
    except ImportError as error:
        raise ConfigError(f"{file} can only be unpacked with {name}, which is not installed; run: {EXTRA}") from error
