"""Files of random numbers in the exact layout of a published checkpoint, made from its manifest of keys and shapes.

They go the whole way of a published file: wrappers, prefixes, an optimiser's state, a decoder that nobody wants. That
proves the way; a score that is reached with them says nothing about the model. Torch is imported inside functions.
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import zipfile
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from strategies._checks import StrategyError
from strategies.backbones._spec import WeightsSpec

if TYPE_CHECKING:
    from torch import Tensor

VERSION = 1
"""Raised when the generator writes other numbers: it is part of every synthetic file's identity."""
STD, CUT = 0.02, 2.0
"""Spread of the random numbers, as vision transformers are initialised, and where it is cut, in spreads."""
SMALL = 4
"""Largest side of a tensor that every model drops: its name matters, its size does not."""
MARK = b"hsfm-sweep synthetic weights "
"""Comment of the zip archive, before the identity. Nothing inside of the archive differs from a published file."""
MANIFESTS = Path(__file__).parent / "manifests"
_COMMENT_LENGTH_BYTES = 2


@dataclass(frozen=True)
class ManifestKey:
    """One tensor of a published file."""

    name: str
    """As in the file, with what wrappers have put before it."""
    shape: tuple[int, ...]
    kind: Literal["encoder", "dropped"]


@lru_cache(maxsize=32)
def read_manifest(file: str) -> tuple[ManifestKey, ...]:
    """The keys of a published file.

    Raises:
        StrategyError: no such manifest, or one that is not in its form.
    """
    path = MANIFESTS / file
    try:
        content = json.loads(path.read_text("utf-8"))
        keys = tuple(ManifestKey(str(name), tuple(map(int, shape)), kind) for name, shape, kind in content["keys"])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise StrategyError(f"manifest {path} cannot be read ({type(error).__name__}: {error}); restore it") from error
    wrong = [key.name for key in keys if key.kind not in ("encoder", "dropped")]
    if wrong or len({key.name for key in keys}) != len(keys):
        raise StrategyError(f"manifest {path}: {wrong[:3] or 'a key twice'}; allowed: kind encoder or dropped, once")
    return keys


@lru_cache(maxsize=64)
def synthetic_identity(spec: WeightsSpec) -> str:
    """SHA-256 of everything that a synthetic file's content follows from; known without writing it.

    Raises:
        StrategyError: the datasheet has no manifest.
    """
    content = json.dumps(
        {
            "generator": VERSION,
            "name": spec.name,
            "keys": [[key.name, key.shape, key.kind] for key in _keys_of(spec)],
            "top_key": spec.top_keys[:1],
            "safe_globals": spec.safe_globals,
        }
    )
    return hashlib.sha256(content.encode()).hexdigest()


def synthetic_path(spec: WeightsSpec, cache: Path) -> Path:
    """Where the synthetic file of a datasheet belongs."""
    return cache / "weights" / "synthetic" / f"{spec.name}-{synthetic_identity(spec)}.pth"


def identity_in(path: Path) -> str:
    """The identity that a synthetic file carries; empty for any other file, and for one that is cut off."""
    try:
        with zipfile.ZipFile(path) as archive:
            comment = archive.comment
    except (OSError, zipfile.BadZipFile):
        return ""
    return comment.removeprefix(MARK).decode("ascii", "replace") if comment.startswith(MARK) else ""


def write_synthetic(spec: WeightsSpec, path: Path) -> None:
    """Write a synthetic file, whole or not at all; nothing is done where it is there already.

    The numbers follow from the datasheet alone: the same on every machine with the same version of torch.

    Raises:
        StrategyError: the datasheet has no manifest.
        OSError: no room, or a folder that cannot be written.
    """
    import torch

    if identity_in(path) == synthetic_identity(spec):
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    # only the end of the name differs: whoever is killed here leaves a file that the next one writes over
    part = path.with_name(path.name + f".part-{os.getpid()}")
    try:
        torch.save(_wrapped(spec, {key.name: _numbers(spec, key) for key in _keys_of(spec)}), part)
        _append_comment(part, MARK + synthetic_identity(spec).encode())
        os.replace(part, path)
    finally:
        part.unlink(missing_ok=True)


def _keys_of(spec: WeightsSpec) -> tuple[ManifestKey, ...]:
    if spec.manifest is None:
        raise StrategyError(
            f"weights {spec.name!r} have no manifest of keys, so that nothing can imitate them; allowed: init "
            "pretrained or random; set one of these"
        )
    return read_manifest(spec.manifest)


def _numbers(spec: WeightsSpec, key: ManifestKey) -> Tensor:
    """What stands under one key: neutral norms and biases, else small random numbers."""
    import torch

    shape = key.shape if key.kind == "encoder" else tuple(min(side, SMALL) for side in key.shape)
    last = key.name.rpartition(".")[2]
    if last == "num_batches_tracked":
        return torch.zeros(shape, dtype=torch.int64)
    if last in ("bias", "running_mean"):
        return torch.zeros(shape)
    if last == "running_var" or (last == "weight" and len(shape) == 1):
        return torch.ones(shape)
    seed = hashlib.sha256(f"{VERSION}/{spec.name}/{key.name}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(seed[:7], "big"))
    return torch.empty(shape).normal_(0.0, STD, generator=generator).clamp_(-CUT * STD, CUT * STD)


def _wrapped(spec: WeightsSpec, state: dict[str, Tensor]) -> dict[str, Any]:
    """The state dict as a training script leaves it: below its key, beside what the script kept for itself."""
    import torch

    if not spec.top_keys:
        return dict(state)
    moments = {"step": torch.tensor(100.0), "exp_avg": torch.zeros(SMALL), "exp_avg_sq": torch.zeros(SMALL)}
    groups = [{"lr": 1e-4, "betas": (0.9, 0.95), "weight_decay": 0.05, "params": [0]}]
    content: dict[str, Any] = {
        spec.top_keys[0]: state,
        "optimizer": {"state": {0: moments}, "param_groups": groups},
        "epoch": 100,
    }
    for number, name in enumerate(spec.safe_globals):
        module, _, attribute = name.rpartition(".")
        content["args" if not number else f"args{number}"] = getattr(importlib.import_module(module), attribute)()
    return content


def _append_comment(path: Path, comment: bytes) -> None:
    """Set the comment of a zip archive without a comment: its length is the last thing in the file."""
    with path.open("r+b") as file:
        file.seek(-_COMMENT_LENGTH_BYTES, os.SEEK_END)
        if file.read() != bytes(_COMMENT_LENGTH_BYTES):
            raise OSError(f"{path} was not written as a zip archive without a comment")
        file.seek(-_COMMENT_LENGTH_BYTES, os.SEEK_END)
        file.write(len(comment).to_bytes(_COMMENT_LENGTH_BYTES, "little") + comment)
