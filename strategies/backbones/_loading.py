"""Loading a published checkpoint into a model, key by key. Imports torch only inside functions."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies._base import StrategyError

if TYPE_CHECKING:
    from torch import Tensor, nn

    from strategies.backbones._weights import WeightsSpec

LISTED = 8
"""At most so many keys are named in an error."""


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


def load_state_dict(path: str | Path, model: nn.Module, spec: WeightsSpec) -> CheckReport:
    """Fill a model with a checkpoint; every key of both is accounted for.

    Args:
        path: the file.
        model: changed in place, only where everything fits.
        spec: the checkpoint's datasheet: checksum, key mapping, what may be dropped or missing.

    Raises:
        StrategyError: the file is absent or not the published one, or keys are missing, left over or of another shape.
    """
    from strategies.backbones._weights import damage

    file = Path(path)
    if not file.is_file():
        raise StrategyError(f"weights {spec.name!r}: {file} is not a file; run `hsfm-sweep weights info {spec.name}`")
    problem = damage(spec, file)
    if problem:
        raise StrategyError(f"{problem}; fetch it again")
    return apply_state_dict(_read(file, spec), model, spec, source=str(file))


def apply_state_dict(state: Mapping[str, Tensor], model: nn.Module, spec: WeightsSpec, *, source: str) -> CheckReport:
    """Fill a model with tensors under the file's names; see `load_state_dict`.

    Raises:
        StrategyError: keys are missing, left over or of another shape.
    """
    mapped, dropped, unexpected = _map_keys(state, spec)
    expected = model.state_dict()
    unexpected += [f"{old} -> {new}" for old, new in mapped.items() if new not in expected]
    arriving = {new: state[old] for old, new in mapped.items() if new in expected}
    missing = [key for key in expected if key not in arriving and not _has_prefix(key, spec.allowed_missing)]
    absent = tuple(key for key in expected if key not in arriving and _has_prefix(key, spec.allowed_missing))
    wrong = [
        f"{key} {tuple(tensor.shape)} instead of {tuple(expected[key].shape)}"
        for key, tensor in arriving.items()
        if tensor.shape != expected[key].shape
    ]
    lists = (("missing", missing), ("unexpected", unexpected), ("wrong shape", wrong))
    problems = [f"{len(keys)} {what}: {_some(keys)}" for what, keys in lists if keys]
    if problems:
        raise StrategyError(
            f"weights {spec.name!r} of {source} do not fit the model: {'; '.join(problems)}; fetch the published file"
        )
    model.load_state_dict({**expected, **arriving})
    names = {name for name, _ in model.named_parameters()}
    loaded = sum(tensor.numel() for key, tensor in arriving.items() if key in names)
    return CheckReport(
        name=spec.name,
        path=source,
        keys_in_file=len(state),
        keys_loaded=len(arriving),
        keys_dropped=tuple(dropped),
        keys_missing=absent,
        parameters_in_file=spec.parameters,
        parameters_loaded=loaded,
        share_of_file=loaded / spec.parameters,
        share_of_backbone=loaded / sum(parameter.numel() for parameter in model.parameters()),
    )


def check_file(spec: WeightsSpec, path: Path) -> CheckReport:
    """Load a file into the architecture of its spec.

    Raises:
        StrategyError: the file is damaged, or its keys do not fit.
    """
    from strategies.backbones import deeplabv3plus, efficientnet, spectf

    make: dict[str, Callable[[], nn.Module]] = {
        "efficientnet_lite0_imagenet": efficientnet.Lite0Pyramid,
        "mobilenet_v2_imagenet": deeplabv3plus.MobileNetV2Levels,
        "spectf_v010": spectf.spectral_encoder,
    }
    return load_state_dict(path, make[spec.name](), spec)


def _read(file: Path, spec: WeightsSpec) -> Mapping[str, Tensor]:
    import pickle

    import torch

    try:
        content: Any = torch.load(file, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, OSError) as error:
        raise StrategyError(
            f"weights {spec.name!r}: {file} cannot be read as plain tensors ({error}); fetch it again"
        ) from error
    if spec.top_key is not None and isinstance(content, Mapping) and spec.top_key in content:
        content = content[spec.top_key]
    if not isinstance(content, Mapping) or not all(isinstance(value, torch.Tensor) for value in content.values()):
        raise StrategyError(f"weights {spec.name!r}: {file} holds no state dict; fetch the published file")
    return content


def _map_keys(state: Mapping[str, Tensor], spec: WeightsSpec) -> tuple[dict[str, str], list[str], list[str]]:
    mapped: dict[str, str] = {}
    dropped: list[str] = []
    unexpected: list[str] = []
    for key in state:
        if _has_prefix(key, spec.dropped):
            dropped.append(key)
        elif not spec.key_prefixes:
            mapped[key] = key
        else:
            pair = next((pair for pair in spec.key_prefixes if _has_prefix(key, (pair[0],))), None)
            if pair is None:
                unexpected.append(key)
            else:
                mapped[key] = pair[1] + key[len(pair[0]) :]
    return mapped, dropped, unexpected


def _has_prefix(key: str, prefixes: tuple[str, ...]) -> bool:
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def _some(keys: list[str]) -> str:
    more = f" and {len(keys) - LISTED} more" if len(keys) > LISTED else ""
    return ", ".join(keys[:LISTED]) + more
