"""Datasheets of published checkpoints, one file a model, each with a tuple `SPECS`. A new file is found by itself."""

from __future__ import annotations

import difflib
import functools
import importlib
import pkgutil

from strategies._checks import StrategyError
from strategies.backbones._spec import WeightsSpec

TIMM = "timm:"
"""What the weights of any vision model of timm are called by, before its name."""


@functools.cache
def all_specs() -> dict[str, WeightsSpec]:
    """Every datasheet, by name.

    Raises:
        StrategyError: two files give the same name.
    """
    found: dict[str, WeightsSpec] = {}
    for module in sorted(pkgutil.iter_modules(__path__), key=lambda module: module.name):
        specs: tuple[WeightsSpec, ...] = importlib.import_module(f"{__name__}.{module.name}").SPECS
        for spec in specs:
            if spec.name in found:
                raise StrategyError(f"weights {spec.name!r} have two datasheets; rename the one in {module.name}.py")
            found[spec.name] = spec
    return found


def list_weights() -> tuple[str, ...]:
    """All names, sorted."""
    return tuple(sorted(all_specs()))


def get_spec(name: str) -> WeightsSpec:
    """The datasheet of a checkpoint; that of a model of timm which has none is made from what timm knows of it.

    Raises:
        StrategyError: no such name.
    """
    known = all_specs()
    if name not in known and name.startswith(TIMM):
        from strategies.backbones._specs.timm_vision import timm_spec

        return timm_spec(name)
    if name not in known:
        near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        raise StrategyError(f"unknown weights {name!r}.{guess} Known: {', '.join(list_weights())}.")
    return known[name]
