"""The list of strategies: every public module of a family folder is one, and its path is its name.

Listing imports nothing; getting a strategy imports its one module. Third parties add theirs through the entry point
group `hsfm_sweep.strategies` or, for one file, through `load_plugin`.
"""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import importlib.util
import pkgutil
import sys
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from types import ModuleType
from typing import Any

from strategies._base import Strategy, StrategyError

FAMILIES = ("in_domain", "cross_modality", "cross_domain")
ENTRY_POINT_GROUP = "hsfm_sweep.strategies"
PLUGIN_FAMILY = "plugin"
_plugins: dict[str, tuple[Path, type[Strategy]]] = {}


class UnknownStrategyError(StrategyError):
    """No strategy has this name.

    Attributes:
        name: the name that was asked for.
        known: all names there are.
    """

    def __init__(self, name: str, known: Iterable[str]) -> None:
        self.name = name
        self.known = tuple(sorted(known))
        near = difflib.get_close_matches(name, self.known, n=1, cutoff=0.5)
        guess = f" Did you mean {near[0]!r}?" if near else ""
        super().__init__(f"unknown strategy {name!r}.{guess} Known: {', '.join(self.known)}.")

    def __reduce__(self) -> tuple[type[UnknownStrategyError], tuple[str, tuple[str, ...]]]:
        # an exception is pickled by its text by default, which does not fit these arguments
        return type(self), (self.name, self.known)


def list_strategies() -> tuple[str, ...]:
    """All names, sorted: packaged ones, installed plugins and files given to `load_plugin`. Imports none of them."""
    return tuple(sorted({*_packaged(), *_entry_points(), *_plugins}))


def get_strategy(name: str) -> type[Strategy]:
    """The class of a strategy; imports its module only.

    Raises:
        UnknownStrategyError: no module, entry point or plugin has this name.
        StrategyError: the module is there but does not define a `STRATEGY`.
    """
    loaded_module = _loaded(name)
    if loaded_module is not None:
        return _strategy_of(loaded_module, name)
    if name in _packaged():
        module = importlib.import_module("strategies." + name.replace("/", "."))
        return _strategy_of(module, name)
    if name in _plugins:
        return _plugins[name][1]
    entry_point = _entry_points().get(name)
    if entry_point is None:
        raise UnknownStrategyError(name, list_strategies())
    loaded = entry_point.load()
    return _strategy_of(loaded, name) if isinstance(loaded, ModuleType) else _checked(loaded, name)


def make_strategy(name: str, values: Mapping[str, Any] | None = None) -> Strategy:
    """An instance with the given fields; all others keep their defaults.

    Raises:
        UnknownStrategyError: no such strategy.
        StrategyError: an unknown field, or a value that a field cannot take.
    """
    strategy, values = get_strategy(name), dict(values or {})
    known = [f.name for f in fields(strategy)]
    for key in values:
        if key not in known:
            near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
            guess = f" Did you mean {near[0]!r}?" if near else ""
            raise StrategyError(
                f"unknown field {key!r} of strategy {name!r}.{guess} Known: {', '.join(sorted(known))}."
            )
    return strategy(**values)


def load_plugin(path: str | Path) -> str:
    """Register the strategy of one Python file under `plugin/<file name>`; loading the same file again changes nothing.

    The file is run: only give files that you trust. Every process that uses the strategy has to load it.

    Raises:
        StrategyError: not a readable `.py` file, an error inside it, no `STRATEGY`, or a name that is taken.
    """
    file = Path(path).resolve()
    if file.suffix != ".py" or not file.is_file() or not file.stem.isidentifier() or file.stem.startswith("_"):
        raise StrategyError(
            f"plugin {str(path)!r} is not a Python file; allowed: an existing FILE.py with an importable public name"
        )
    name = f"{PLUGIN_FAMILY}/{file.stem}"
    if name in _plugins:
        if _plugins[name][0] == file:
            return name
        raise StrategyError(
            f"plugin {str(path)!r}: the name {name!r} is taken by {_plugins[name][0]}; rename one of the files"
        )
    module_name = f"hsfm_sweep_plugin_{file.stem}"
    spec = importlib.util.spec_from_file_location(module_name, file)
    if spec is None or spec.loader is None:
        raise StrategyError(f"plugin {str(path)!r} cannot be imported; allowed: a Python source file")
    module = importlib.util.module_from_spec(spec)
    # pickle and dataclasses look classes up by the name of their module
    sys.modules[module_name] = module
    try:
        spec.loader.exec_module(module)
        _plugins[name] = (file, _strategy_of(module, name))
    except StrategyError:
        del sys.modules[module_name]
        raise
    except Exception as error:  # whatever a user's file raises is told as the file's fault
        del sys.modules[module_name]
        raise StrategyError(
            f"plugin {str(path)!r} cannot be imported: {type(error).__name__}: {error}; mend the file"
        ) from error
    return name


def _loaded(name: str) -> ModuleType | None:
    """The module of a packaged strategy that was imported before: a large grid asks for it thousands of times."""
    family, _, own = name.partition("/")
    if family not in FAMILIES or not own or own.startswith("_"):
        return None
    return sys.modules.get(f"strategies.{family}.{own}")


def _packaged() -> tuple[str, ...]:
    root = Path(__file__).parent
    return tuple(
        f"{family}/{module.name}"
        for family in FAMILIES
        for module in pkgutil.iter_modules([str(root / family)])
        if not module.name.startswith("_")
    )


def _entry_points() -> dict[str, importlib.metadata.EntryPoint]:
    return {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)}


def _strategy_of(module: ModuleType, name: str) -> type[Strategy]:
    if not hasattr(module, "STRATEGY"):
        raise StrategyError(f"strategy {name!r}: its module defines no STRATEGY; add `STRATEGY = YourClass` at its end")
    return _checked(module.STRATEGY, name)


def _checked(strategy: Any, name: str) -> type[Strategy]:
    if not (isinstance(strategy, type) and issubclass(strategy, Strategy)):
        raise StrategyError(
            f"strategy {name!r}: STRATEGY is {strategy!r}; allowed: a subclass of strategies._base.Strategy"
        )
    return strategy
