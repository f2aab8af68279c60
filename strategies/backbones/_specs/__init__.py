"""Datasheets of published checkpoints, one file a model, each with a tuple `SPECS`. A new file is found by itself."""

from __future__ import annotations

import functools
import importlib
import pkgutil

from strategies._checks import StrategyError
from strategies.backbones._spec import WeightsSpec


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
