"""Reading a checkpoint's file as plain tensors: torch's zip, older pickles of tensors, safetensors. No free pickle."""

from __future__ import annotations

import contextlib
import importlib
import re
import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies._checks import StrategyError
from strategies.backbones._converted import ENTRY
from strategies.backbones._spec import WeightsSpec

if TYPE_CHECKING:
    from torch import Tensor

SAFE_GLOBALS = ("argparse.Namespace",)
"""Classes beside tensors that a datasheet may allow in a file's pickle: holders of settings, which run no code."""
USUAL_TOP_KEYS = ("state_dict", "model", "model_state_dict", "teacher", "student", "network", "net")
"""Where a file whose model is not known is looked into."""


@dataclass(frozen=True, kw_only=True)
class Checkpoint:
    """The tensors of a file under the file's names; they are mapped from the disk and read where they are used."""

    tensors: Mapping[str, Tensor]
    other_keys: tuple[str, ...] = ()
    """Keys beside the tensors that hold no tensor."""
    metadata: Mapping[str, str]
    """Of a safetensors file; empty for others."""

    @property
    def is_converted(self) -> bool:
        """Whether `weights convert` wrote the file."""
        return ENTRY in self.metadata


def read_checkpoint(file: Path, spec: WeightsSpec | None) -> Checkpoint:
    """Open a file.

    Args:
        file: what to read.
        spec: says where the tensors are and which classes are allowed; None = a file of unknown origin.

    Raises:
        StrategyError: cut off, no plain tensors, or no state dict.
    """
    label = f"weights {spec.name!r}: " if spec else ""
    if file.suffix == ".safetensors":
        return _read_safetensors(file, label)
    content = _read_torch(file, label, spec.safe_globals if spec else SAFE_GLOBALS)
    for key in spec.top_keys if spec else USUAL_TOP_KEYS:
        if isinstance(content, Mapping) and isinstance(content.get(key), Mapping):
            content = content[key]
            break
    return _sorted_out(content, f"{label}{file}")


def _sorted_out(content: Any, source: str) -> Checkpoint:
    import torch

    if isinstance(content, Mapping):
        tensors = {str(key): value for key, value in content.items() if isinstance(value, torch.Tensor)}
        if tensors:
            others = tuple(str(key) for key, value in content.items() if not isinstance(value, torch.Tensor))
            return Checkpoint(tensors=tensors, other_keys=others, metadata={})
        keys = ", ".join(map(str, list(content)[:6]))
        raise StrategyError(f"{source} holds no state dict (its keys: {keys}); fetch the published file")
    raise StrategyError(f"{source} holds no state dict; fetch the published file")


def _read_torch(file: Path, label: str, allowed: tuple[str, ...]) -> Any:
    import pickle

    import torch

    with file.open("rb") as opened:
        is_zip = opened.read(4) == b"PK\x03\x04"
    if is_zip and not zipfile.is_zipfile(file):
        raise StrategyError(
            f"{label}{file} is cut off after {file.stat().st_size} bytes (its table of contents is missing); "
            "fetch it again"
        )
    try:
        with torch.serialization.safe_globals(list(_classes(allowed))):
            return torch.load(file, map_location="cpu", weights_only=True, mmap=is_zip)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError, ValueError, KeyError) as error:
        raise StrategyError(
            f"{label}{file} cannot be read as plain tensors ({_in_short(error)}); fetch it again"
        ) from error


def _classes(names: tuple[str, ...]) -> Iterator[type]:
    for name in names:
        if name not in SAFE_GLOBALS:
            raise StrategyError(f"class {name!r} is not allowed in a checkpoint; allowed: {', '.join(SAFE_GLOBALS)}")
        module, _, attribute = name.rpartition(".")
        yield getattr(importlib.import_module(module), attribute)


def _in_short(error: BaseException) -> str:
    """What torch says, without its advice to load the file unsafely."""
    text = " ".join(str(error).split())
    named = re.search(r"GLOBAL ([\w.]+)", text)
    return f"it names the class {named.group(1)}" if named else text[:160]


def _read_safetensors(file: Path, label: str) -> Checkpoint:
    from safetensors import SafetensorError, safe_open

    try:
        with contextlib.ExitStack() as stack:
            opened = stack.enter_context(safe_open(str(file), framework="pt"))
            tensors = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118 - no mapping
            return Checkpoint(tensors=tensors, metadata=dict(opened.metadata() or {}))
    except (SafetensorError, OSError) as error:
        raise StrategyError(
            f"{label}{file} cannot be read as safetensors ({' '.join(str(error).split())[:160]}); fetch it again"
        ) from error
