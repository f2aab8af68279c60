"""Converted checkpoints: the tensors that a model takes, as safetensors, and where they come from in the header."""

from __future__ import annotations

import functools
import hashlib
import json
import os
from pathlib import Path

from strategies._checks import StrategyError
from strategies.backbones._keys import map_keys, strip
from strategies.backbones._spec import WeightsSpec

ENTRY = "hsfm"
"""Of the header's metadata; one entry, since several have no fixed order and the file would not be the same again."""
_LENGTH_BYTES = 8
_PLACE = "_" * 64
_LARGEST_HEADER_BYTES = 100_000_000
"""As the format itself allows."""


def header_of(path: Path) -> dict[str, str]:
    """What `weights convert` wrote into a safetensors file: `name`, `source_sha256` and `content_sha256`.

    Empty for a file of another origin. Reads no tensor.
    """
    try:
        with path.open("rb") as file:
            length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
            if not 0 < length <= min(_LARGEST_HEADER_BYTES, path.stat().st_size):
                return {}
            metadata = json.loads(file.read(length)).get("__metadata__", {})
            found = json.loads(metadata.get(ENTRY, "{}"))
            return {str(key): str(value) for key, value in found.items()}
    except (OSError, ValueError, AttributeError):
        return {}


@functools.lru_cache(maxsize=64)
def content_sha256(path: str, size_bytes: int, mtime_ns: int) -> str:  # noqa: ARG001 - size and time make the key
    """SHA-256 of what follows the header of a safetensors file: all tensors, in their order."""
    with open(path, "rb") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        file.seek(_LENGTH_BYTES + length)
        return hashlib.file_digest(file, "sha256").hexdigest()


def convert(spec: WeightsSpec, source: Path, target: Path, *, source_sha256: str) -> tuple[int, int]:
    """Write what a model takes of a checkpoint as safetensors: no wrappers, no optimiser, no decoder.

    The tensors keep the file's names, without what wrappers have put before them.

    Args:
        spec: the checkpoint's datasheet.
        source: the published file.
        target: what to write; whole or not at all.
        source_sha256: the published file's, for the header.

    Returns:
        Bytes of source and target.

    Raises:
        StrategyError: a file that does not fit its datasheet.
        OSError: no room, or a folder that cannot be written.
    """
    from safetensors.torch import save_file

    from strategies.backbones._reading import read_checkpoint

    checkpoint = read_checkpoint(source, spec)
    if checkpoint.is_converted:
        raise StrategyError(f"{source} is a converted file already; allowed: the published file; copy this one")
    keys = map_keys(checkpoint.tensors, spec)
    # tensors that share memory, or are views, stand on their own in the new file
    state = {strip(key, spec): checkpoint.tensors[key].clone().contiguous() for key in keys.mapped}
    # as long as it will be, so that the content's checksum can be put into it afterwards
    header = {"name": spec.name, "source_sha256": source_sha256, "content_sha256": _PLACE}
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f"{target.name}.part-{os.getpid()}.safetensors")
    try:
        save_file(state, part, {ENTRY: json.dumps(header)})
        _fill_in(part, content_sha256(str(part), part.stat().st_size, part.stat().st_mtime_ns))
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)
    return source.stat().st_size, target.stat().st_size


def _fill_in(path: Path, sha256: str) -> None:
    with path.open("r+b") as file:
        length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
        header = file.read(length)
        file.seek(_LENGTH_BYTES + header.index(_PLACE.encode()))
        file.write(sha256.encode())
