"""Brings a checkpoint's file into the cache: from the Hugging Face hub, an address, or a file of the user's."""

from __future__ import annotations

import errno
import os
import shutil
import urllib.error
import urllib.request
from pathlib import Path

from filelock import FileLock

from orchestrator.api_plan import weights_status
from orchestrator.datasets._base import Progress
from orchestrator.datasets.fetch import fetch_file
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import DataError, WeightsError
from orchestrator.plan.facts import SourceFile
from strategies._checks import StrategyError
from strategies.backbones._converted import header_of
from strategies.backbones._inspection import described, inspect, resembling
from strategies.backbones._places import cache_path, converted_path
from strategies.backbones._spec import WeightsSpec
from strategies.backbones._specs import get_spec

ANSWER_S = 10.0
"""How long the hub may take to answer at all, before its library is asked, which would try for half a minute."""


def fetch_weights(
    name: str, locations: DataLocations, *, source: Path | None = None, progress: Progress | None = None
) -> Path:
    """Bring a checkpoint's file to where it is looked for; nothing is done where it is there already.

    Args:
        name: registry name.
        locations: the file goes below the cache's `weights`; its licences say what may be used.
        source: the user's own file, which is checked against its model and linked, or copied to another disk.
        progress: told of the bytes of a download from an address.

    Returns:
        The file.

    Raises:
        WeightsError: no consent, no address, no network, a damaged or foreign file, or no room.
    """
    spec = get_spec(name)
    before = weights_status(name, locations)
    if spec.consent and spec.consent not in locations.accepted_licences:
        raise WeightsError(f"{before.reason}; to use them: {before.remedy}")
    if before.path is not None and source is None:
        return Path(before.path)
    if source is not None:
        _place(spec, source, locations)
    elif spec.huggingface is not None:
        _fetch_from_hub(spec, locations)
    elif spec.url is not None:
        try:
            file = SourceFile(path=spec.file, sha256=spec.sha256 or None, url=spec.url)
            fetch_file(file, spec.url, cache_path(name, locations.cache), progress)
        except DataError as error:
            raise WeightsError(f"weights {name!r}: {error}") from error
    else:
        raise WeightsError(f"weights {name!r} have no address of their own; to get them: {before.remedy}")
    after = weights_status(name, locations)
    if after.path is None:
        raise WeightsError(f"{after.reason}; {after.remedy}")
    return Path(after.path)


def hub_address(spec: WeightsSpec) -> str:
    """Where a file on the hub can be fetched by hand."""
    assert spec.huggingface is not None
    repository, file, revision = spec.huggingface
    return f"{_endpoint()}/{repository}/resolve/{revision}/{file}"


def _endpoint() -> str:
    return os.environ.get("HF_ENDPOINT", "https://huggingface.co").rstrip("/")


def _fetch_from_hub(spec: WeightsSpec, locations: DataLocations) -> None:
    """Download by the hub's own library, which goes on with a part and takes its token from its own environment."""
    assert spec.huggingface is not None
    target = cache_path(spec.name, locations.cache)
    by_hand = f"or get it elsewhere and run `hsfm-sweep weights fetch {spec.name} --from FILE`"
    folder = target.parent / "hub"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(target.with_name(target.name + ".lock")):
            if not target.is_file():
                _check_connection(spec, by_hand)
                os.replace(_download(spec, folder, by_hand), target)
                shutil.rmtree(folder, ignore_errors=True)
    except OSError as error:
        raise _unwritable(target, error) from error


def _check_connection(spec: WeightsSpec, by_hand: str) -> None:
    """One question to the hub, without a token: any answer will do."""
    try:
        request = urllib.request.Request(_endpoint(), method="HEAD", headers={"User-Agent": "hsfm-sweep"})
        with urllib.request.urlopen(request, timeout=ANSWER_S):  # noqa: S310 - the hub's address, or the user's mirror
            return
    except urllib.error.HTTPError as error:
        error.close()
    except OSError as error:
        why = getattr(error, "reason", error)
        raise WeightsError(
            f"cannot fetch {hub_address(spec)}: no connection ({why}); try again with a network, {by_hand}"
        ) from error


def _download(spec: WeightsSpec, folder: Path, by_hand: str) -> Path:
    from huggingface_hub import errors, hf_hub_download

    assert spec.huggingface is not None
    repository, file, revision = spec.huggingface
    address = hub_address(spec)
    try:
        return Path(hf_hub_download(repository, file, revision=revision, local_dir=folder, endpoint=_endpoint()))
    except errors.GatedRepoError as error:
        raise WeightsError(
            f"cannot fetch {address}: the hub gives it to those alone who agreed to its terms; agree on the page of "
            f"{repository}, set HF_TOKEN to your token, and run the command again, {by_hand}"
        ) from error
    except (errors.RepositoryNotFoundError, errors.RevisionNotFoundError, errors.EntryNotFoundError) as error:
        if isinstance(error, errors.LocalEntryNotFoundError):
            raise WeightsError(
                f"cannot fetch {address}: the connection broke; what was received is kept: run the command again, "
                f"{by_hand}"
            ) from error
        raise WeightsError(f"cannot fetch {address}: there is no such file, or not for you; {by_hand}") from error
    except errors.OfflineModeIsEnabled as error:
        raise WeightsError(f"cannot fetch {address}: HF_HUB_OFFLINE is set; unset it, {by_hand}") from error
    except Exception as error:
        # the library's own network errors are of several packages, and a full disk is among its OSErrors
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EACCES, errno.EROFS, errno.EDQUOT):
            raise
        raise WeightsError(
            f"cannot fetch {address}: {type(error).__name__}; what was received is kept: run the command again, "
            f"{by_hand}"
        ) from error


def _place(spec: WeightsSpec, source: Path, locations: DataLocations) -> None:
    """Check the user's file against its model, then link it into the cache, or copy it."""
    if not source.is_file():
        raise WeightsError(f"{source} is not a file; give the file that was downloaded")
    try:
        problems = inspect(spec, source).problems
        if problems:
            raise WeightsError(f"weights {spec.name!r} of {source}: {problems}{described(resembling(source))}")
    except StrategyError as error:
        raise WeightsError(str(error)) from error
    is_converted = source.suffix == ".safetensors" and header_of(source)
    target = (converted_path if is_converted else cache_path)(spec.name, locations.cache)
    part = target.with_name(f"{target.name}.part-{os.getpid()}")
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.exists() and target.samefile(source):
            return
        part.unlink(missing_ok=True)
        try:
            os.link(source.resolve(), part)
        except OSError:
            shutil.copyfile(source, part)
        os.replace(part, target)
    except OSError as error:
        raise _unwritable(target, error) from error
    finally:
        part.unlink(missing_ok=True)


def _unwritable(target: Path, error: OSError) -> WeightsError:
    return WeightsError(f"cannot write {target}: {error}; set HSFM_CACHE to a writable folder with room")
