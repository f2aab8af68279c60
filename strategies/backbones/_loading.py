"""Loading a published checkpoint into a model, key by key. Imports torch only inside functions."""

from __future__ import annotations

import contextlib
import importlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from strategies._checks import StrategyError
from strategies.backbones._keys import has_prefix, is_dropped, map_keys
from strategies.backbones._places import damage
from strategies.backbones._reading import Checkpoint, read_checkpoint
from strategies.backbones._spec import WeightsSpec
from strategies.backbones._synthetic import synthetic_identity

if TYPE_CHECKING:
    from torch import Tensor, nn

LISTED = 8
"""At most so many keys are named in an error."""
_COUNTED_OUT = ("running_mean", "running_var", "num_batches_tracked")
"""Statistics in a state dict that are no parameters."""


@dataclass(frozen=True, kw_only=True)
class CheckReport:
    """What a checkpoint gave to its model."""

    name: str
    path: str
    keys_in_file: int
    keys_loaded: int
    keys_dropped: tuple[str, ...]
    """Keys of the file that the model has no place for, all of them allowed by name."""
    keys_missing: tuple[str, ...]
    """Keys of the model that the file does not hold, all of them allowed by name."""
    parameters_in_file: int
    parameters_loaded: int
    share_of_file: float
    """Share of the file's parameters that are in the model."""
    share_of_backbone: float
    """Share of the model's parameters that come from the file."""


def make_architecture(spec: WeightsSpec, *, on_meta: bool = False) -> nn.Module:
    """The module which a file fills, with random weights.

    Args:
        spec: names the callable that makes it.
        on_meta: shapes only, without memory, where the module allows it.

    Raises:
        StrategyError: the datasheet names no such callable.
    """
    import torch

    module, _, attribute = spec.architecture.partition(":")
    try:
        make: Callable[[], nn.Module] = getattr(importlib.import_module(module), attribute)
    except ModuleNotFoundError as error:
        raise StrategyError(
            f"weights {spec.name!r}: their model needs the package {error.name!r}, which is not installed; install it, "
            "or the extra of hsfm-sweep that brings it"
        ) from error
    except (ImportError, AttributeError) as error:
        raise StrategyError(
            f"weights {spec.name!r}: architecture {spec.architecture!r} cannot be made: {error}"
        ) from error
    if on_meta:
        # a module that computes numbers while it is made (a table of positions) cannot be made without memory
        with contextlib.suppress(NotImplementedError, RuntimeError), torch.device("meta"):
            return make()
    return make()


@dataclass(frozen=True, kw_only=True)
class Fit:
    """A file held against a model: what fits, and what does not."""

    arriving: Mapping[str, str]
    """Key of the model to key of the file, of all that has a place and the right shape."""
    dropped: tuple[str, ...]
    absent: tuple[str, ...]
    """Keys of the model that the file does not hold and need not."""
    missing: tuple[str, ...]
    unexpected: tuple[str, ...]
    misshapen: tuple[str, ...]

    @property
    def problems(self) -> str:
        """Everything that is not allowed, in words; empty where the file fits."""
        lists = (("missing", self.missing), ("unexpected", self.unexpected), ("wrong shape", self.misshapen))
        return "; ".join(f"{len(keys)} {what}: {some(keys)}" for what, keys in lists if keys)


def fit(checkpoint: Checkpoint, expected: Mapping[str, Tensor], spec: WeightsSpec) -> Fit:
    """Hold a file's keys and shapes against a model's state dict."""
    keys = map_keys(checkpoint.tensors, spec, are_stripped=checkpoint.is_converted)
    arriving = {new: old for old, new in keys.mapped.items() if new in expected}
    wrong = {
        new: f"{new} {tuple(checkpoint.tensors[old].shape)} instead of {tuple(expected[new].shape)}"
        for new, old in arriving.items()
        if checkpoint.tensors[old].shape != expected[new].shape
    }
    left_over = [f"{old} -> {new}" if old != new else old for old, new in keys.mapped.items() if new not in expected]
    no_tensors = [f"{key} (no tensor)" for key in checkpoint.other_keys if not is_dropped(key, spec)]
    lacking = [key for key in expected if key not in arriving]
    return Fit(
        arriving={new: old for new, old in arriving.items() if new not in wrong},
        dropped=tuple(keys.dropped),
        absent=tuple(key for key in lacking if has_prefix(key, spec.allowed_missing)),
        missing=tuple(key for key in lacking if not has_prefix(key, spec.allowed_missing)),
        unexpected=(*keys.unexpected, *left_over, *no_tensors),
        misshapen=tuple(wrong.values()),
    )


def load_state_dict(
    path: str | Path, model: nn.Module, spec: WeightsSpec, *, is_synthetic: bool = False
) -> CheckReport:
    """Fill a model with a checkpoint; every key of both is accounted for.

    Args:
        path: the file.
        model: changed in place, only where everything fits.
        spec: the checkpoint's datasheet: checksum, key mapping, what may be dropped or missing.
        is_synthetic: the file must be the synthetic one instead of the published one.

    Raises:
        StrategyError: the file is absent or not the published one, or keys are missing, left over or of another shape.
    """
    file = Path(path)
    if not file.is_file():
        raise StrategyError(f"weights {spec.name!r}: {file} is not a file; run `hsfm-sweep weights info {spec.name}`")
    problem = damage(spec, file, synthetic=synthetic_identity(spec) if is_synthetic else "")
    if problem:
        raise StrategyError(f"{problem}; fetch it again")
    return fill(model, read_checkpoint(file, spec), spec, source=str(file))


def apply_state_dict(state: Mapping[str, Tensor], model: nn.Module, spec: WeightsSpec, *, source: str) -> CheckReport:
    """Fill a model with tensors under the file's names; see `load_state_dict`.

    Raises:
        StrategyError: keys are missing, left over or of another shape.
    """
    return fill(model, Checkpoint(tensors=state, metadata={}), spec, source=source)


def fill(model: nn.Module, checkpoint: Checkpoint, spec: WeightsSpec, *, source: str) -> CheckReport:
    """Fill a model with an opened checkpoint; see `load_state_dict`.

    Raises:
        StrategyError: keys are missing, left over or of another shape.
    """
    expected = model.state_dict()
    found = fit(checkpoint, expected, spec)
    if found.problems:
        raise StrategyError(
            f"weights {spec.name!r} of {source} do not fit the model: {found.problems}; fetch the published file"
        )
    model.load_state_dict({**expected, **{new: checkpoint.tensors[old] for new, old in found.arriving.items()}})
    return count(model, checkpoint, spec, found, source=source)


def count(model: nn.Module, checkpoint: Checkpoint, spec: WeightsSpec, found: Fit, *, source: str) -> CheckReport:
    """What arrived in the model, counted; the model may be on torch's meta device."""
    in_file = spec.parameters or sum(
        tensor.numel() for key, tensor in checkpoint.tensors.items() if not key.endswith(_COUNTED_OUT)
    )
    names = {name for name, _ in model.named_parameters()}
    loaded = sum(checkpoint.tensors[old].numel() for new, old in found.arriving.items() if new in names)
    return CheckReport(
        name=spec.name,
        path=source,
        keys_in_file=len(checkpoint.tensors) + len(checkpoint.other_keys),
        keys_loaded=len(found.arriving),
        keys_dropped=found.dropped,
        keys_missing=found.absent,
        parameters_in_file=in_file,
        parameters_loaded=loaded,
        share_of_file=loaded / max(in_file, 1),
        share_of_backbone=loaded / max(sum(parameter.numel() for parameter in model.parameters()), 1),
    )


def check_file(spec: WeightsSpec, path: Path) -> CheckReport:
    """Load a file into the architecture of its spec.

    Raises:
        StrategyError: the file is damaged, or its keys do not fit.
    """
    return load_state_dict(path, make_architecture(spec), spec)


def some(keys: tuple[str, ...]) -> str:
    """The first keys of a long list, in words."""
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more
