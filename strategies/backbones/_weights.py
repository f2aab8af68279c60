"""The registry of pretrained weights: datasheets by name, and filling a model. Imports no torch.

Datasheets are in `_specs/`, where their files lie is in `_places`, loading a file into a model is in `_loading`.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import TYPE_CHECKING

from strategies._checks import StrategyError
from strategies.backbones._loading import CheckReport, check_file, load_state_dict
from strategies.backbones._spec import WeightsSpec
from strategies.backbones._specs import all_specs

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CheckReport", "WeightsSpec", "check", "fill_pretrained", "get_spec", "list_weights", "load_state_dict"]


def list_weights() -> tuple[str, ...]:
    """All names, sorted."""
    return tuple(sorted(all_specs()))


def get_spec(name: str) -> WeightsSpec:
    """The datasheet of a checkpoint.

    Raises:
        StrategyError: no such name.
    """
    known = all_specs()
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise StrategyError(f"unknown weights {name!r}.{guess} Known: {', '.join(list_weights())}.")
    return known[name]


def fill_pretrained(model: nn.Module, name: str, init: str, weights_path: str | None) -> None:
    """Load a checkpoint into a strategy's backbone where `init` is "pretrained"; nothing where it is random.

    Raises:
        StrategyError: no file was given, or it does not fit.
    """
    if init != "pretrained":
        return
    if weights_path is None:
        raise StrategyError(f"init 'pretrained' needs the weights {name!r}; give weights_path or set init to random")
    load_state_dict(weights_path, model, get_spec(name))


def check(name: str, path: str | Path) -> CheckReport:
    """Load a file into its model and report the share of the parameters that came from it.

    Raises:
        StrategyError: unknown name, damaged file, or keys that do not fit.
    """
    return check_file(get_spec(name), Path(path))
