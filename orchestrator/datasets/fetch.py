"""Downloads a data set's original files: resumable, checked against their checksums, whole or not at all."""

from __future__ import annotations

import http.client
import shutil
import time
import urllib.error
import urllib.request
from pathlib import Path, PurePosixPath

from filelock import FileLock

from orchestrator.datasets._archives import password_of, unpack
from orchestrator.datasets._base import Archive, Progress
from orchestrator.datasets._checks import sha256_of
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.registry import get_definition, survey
from orchestrator.errors import DataError
from orchestrator.plan.facts import SourceFile

CHUNK_BYTES = 1 << 18
ATTEMPTS = 5
TIMEOUT_S = 30.0
PAUSE_S = 0.5
"""Before the second attempt; doubled before each further one."""
GONE_FOR_GOOD = (400, 401, 403, 404, 410)


def fetch(
    name: str, locations: DataLocations, *, base_url: str | None = None, progress: Progress | None = None
) -> Path:
    """Download the files of a data set that are not there yet.

    A cut connection goes on where it stopped, in this call and in the next one (HTTP Range).

    Args:
        name: a packaged data set.
        locations: files go below `locations.fetched`.
        base_url: a mirror with the files under their paths below the data root; goes before the public addresses.
        progress: told of each file's bytes.

    Returns:
        The folder below which the files lie; the data root, where that already holds them all.

    Raises:
        DataError: no public address, no connection, a wrong checksum, or no room to write.
    """
    definition = get_definition(name)
    present = survey(definition, locations).folder
    if present is not None:
        return present
    archive = definition.archive
    if not definition.facts.files and archive is None:
        raise DataError(f"dataset {name}: it cannot be fetched by a command; {definition.remedy}")
    for source in definition.facts.files:
        if locations.data_root is not None and definition.survey and (locations.data_root / source.path).is_file():
            continue
        if archive is not None and source.url is None and source.path.startswith(f"{archive.folder}/"):
            continue  # a member of the archive
        address = f"{base_url.rstrip('/')}/{source.path}" if base_url else source.url
        if address is None:
            raise DataError(
                f"dataset {name}: {source.path} has no public address; "
                f"{definition.remedy or 'get the file by hand and put it below the data root'}"
            )
        fetch_file(source, address, _target(locations.fetched, source), progress)
    if archive is not None and survey(definition, locations).folder is None:
        _fetch_archive(archive, locations, base_url, progress)
    return survey(definition, locations).folder or locations.fetched


def _fetch_archive(archive: Archive, locations: DataLocations, base_url: str | None, progress: Progress | None) -> None:
    """Download an archive, unpack it below the folder of fetched files, and delete it."""
    password = password_of(archive)
    name = archive.url.rsplit("/", 1)[1]
    source = SourceFile(path=f"{archive.folder}.archive/{name}")
    target = _target(locations.fetched, source)
    try:
        fetch_file(source, f"{base_url.rstrip('/')}/{name}" if base_url else archive.url, target, progress)
    except DataError as error:
        raise DataError(f"{error}; {archive.if_it_fails}") from error
    unpack(target, locations.fetched / archive.folder, password, progress)
    shutil.rmtree(target.parent, ignore_errors=True)


def _target(folder: Path, source: SourceFile) -> Path:
    """Where a file goes; a path that would leave the folder is refused."""
    path = PurePosixPath(source.path)
    if path.is_absolute() or ".." in path.parts:
        raise DataError(f"path {source.path!r} of a data set file leaves its folder; correct the data set's facts")
    return folder / path


def fetch_file(source: SourceFile, address: str, target: Path, progress: Progress | None = None) -> None:
    """Download one file, or go on with it; nothing is done where `target` exists.

    Raises:
        DataError: no connection, a wrong checksum, or no room to write.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if not target.is_file():
                part = target.with_name(target.name + ".part")
                _download(source, address, part, progress)
                part.replace(target)
    except OSError as error:
        raise DataError(f"cannot write {target}: {error}; set HSFM_CACHE to a writable folder with room") from error


def _download(source: SourceFile, address: str, part: Path, progress: Progress | None) -> None:
    """Fill the partial file until it is whole and its checksum is right."""
    started_anew, failure = False, "the connection was cut"
    for attempt in range(ATTEMPTS):
        if attempt:
            time.sleep(PAUSE_S * 2 ** (attempt - 1))
        try:
            whole = _receive(address, part, source.path, progress)
        except urllib.error.HTTPError as error:
            error.close()
            failure = f"the server says {error.code} {error.reason}"
            if error.code in GONE_FOR_GOOD:
                raise DataError(f"cannot fetch {address}: {failure}; get the file by hand") from error
            continue
        except (urllib.error.URLError, http.client.HTTPException, ConnectionError, TimeoutError) as error:
            failure = str(error)
            continue
        if not whole:
            failure = "the connection was cut"
            continue
        found = sha256_of(part)
        if source.sha256 is None or found.startswith(source.sha256):
            return
        part.unlink()
        # The kept part may stem from another version of the file: once more from the start, then give up.
        if started_anew:
            raise _wrong_checksum(address, found, source)
        started_anew = True
    raise DataError(
        f"cannot fetch {address}: {failure} (tried {ATTEMPTS} times); {_size(part)} bytes are kept; "
        "run the command again to go on"
    )


def _wrong_checksum(address: str, found: str, source: SourceFile) -> DataError:
    return DataError(
        f"{address} has SHA-256 {found}, expected {source.sha256}; nothing was kept; "
        "the file was changed at its address or on the way: try another network, or get it by hand"
    )


def _receive(address: str, part: Path, name: str, progress: Progress | None) -> bool:
    """One request for what is missing; True if the file is whole now."""
    have = _size(part)
    headers = {"User-Agent": "hsfm-sweep", "Accept-Encoding": "identity"}
    if have:
        headers["Range"] = f"bytes={have}-"
    try:
        # The address is https of the packaged facts, or a mirror that the caller names.
        response = urllib.request.urlopen(urllib.request.Request(address, headers=headers), timeout=TIMEOUT_S)  # noqa: S310
    except urllib.error.HTTPError as error:
        if error.code != 416:
            raise
        # Nothing is left to send: the part is whole, or longer than the file. Its checksum decides.
        error.close()
        return True
    with response:
        if response.status != 206:
            have = 0
        length = response.headers.get("Content-Length")
        total = have + int(length) if length is not None else None
        with part.open("ab" if have else "wb") as file:
            while chunk := response.read(CHUNK_BYTES):
                file.write(chunk)
                have += len(chunk)
                if progress:
                    progress(name, have, total)
    return total is None or have == total


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
