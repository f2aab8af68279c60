"""The registry of pretrained weights, as strategies use it. Imports no torch.

Datasheets are in `_specs/`, where their files lie is in `_places`, loading a file into a model is in `_loading`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from strategies._checks import StrategyError
from strategies.backbones._loading import CheckReport, check_file, load_state_dict
from strategies.backbones._spec import WeightsSpec
from strategies.backbones._specs import get_spec, list_weights

if TYPE_CHECKING:
    from torch import nn

__all__ = ["CheckReport", "WeightsSpec", "check", "fill_pretrained", "get_spec", "list_weights", "load_state_dict"]


def fill_pretrained(model: nn.Module, name: str, init: str, weights_path: str | None) -> None:
    """Load a checkpoint into a strategy's backbone, as `init` asks for; nothing where it is random.

    Args:
        model: changed in place.
        name: registry name.
        init: pretrained (the published file), synthetic (random numbers in its layout, through the same loader) or
            random.
        weights_path: local file.

    Raises:
        StrategyError: no file was given, or it does not fit, or it is synthetic where the published one is due, or
            the other way round.
    """
    refuse_without_file(name, init, weights_path)
    if init == "random" or weights_path is None:
        return
    load_state_dict(weights_path, model, get_spec(name), is_synthetic=init == "synthetic")


def refuse_without_file(name: str, init: str, weights_path: str | None) -> None:
    """Ask for a file before a large model is made in vain.

    Raises:
        StrategyError: no file was given for an initialisation that needs one.
    """
    if init != "random" and weights_path is None:
        raise StrategyError(f"init {init!r} needs the weights {name!r}; give weights_path or set init to random")


def check(name: str, path: str | Path) -> CheckReport:
    """Load a file into its model and report the share of the parameters that came from it.

    Raises:
        StrategyError: unknown name, damaged file, or keys that do not fit.
    """
    return check_file(get_spec(name), Path(path))
