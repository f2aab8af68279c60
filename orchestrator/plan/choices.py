"""From an entry of the grid's `strategies` to strategies with every field resolved, and to their controls."""

from __future__ import annotations

import fnmatch
import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.config import NORMALISATIONS
from orchestrator.errors import ConfigError, unknown
from orchestrator.plan.cells import StrategyChoice
from orchestrator.plan.field_types import coerce
from orchestrator.plan.run_spec import canonical
from strategies._base import Strategy, StrategyError, default_values, field_types, field_values
from strategies.registry import PLUGIN_FAMILY, UnknownStrategyError, get_strategy, list_strategies

WILDCARDS = frozenset("*?")


def parse_entry(entry: Any) -> tuple[StrategyChoice, ...]:
    """The strategies that one entry of the grid means.

    Args:
        entry: a name, a pattern such as `in_domain/*`, or a mapping of `name`, fields to fix, and optionally
            `regimes`: a list, or `all` for every regime that the strategy offers, and `normalisation` or
            `normalisations`, to compare them with each other.

    Raises:
        ConfigError: an unknown strategy, field or regime, or a value that the strategy cannot take.
    """
    given = dict(entry) if isinstance(entry, Mapping) else {"name": entry}
    name = given.pop("name", None)
    if not isinstance(name, str) or not name:
        raise ConfigError(
            f"strategy entry {entry!r} has no name; allowed: a name such as in_domain/unet, "
            "or {name: in_domain/unet, regime: full}"
        )
    regimes = given.pop("regimes", None)
    if regimes is not None and "regime" in given:
        raise ConfigError(f"strategy entry {entry!r} has regime and regimes; allowed: one of them; remove the other")
    normalisations = _normalisations(entry, given)
    choices: list[StrategyChoice] = []
    for one in _matching(name):
        for regime in _regimes(one, regimes):
            choice = _choose(one, given if regime is None else {**given, "regime": regime})
            choices.extend(_normalised(choice, normalisation) for normalisation in normalisations)
    return tuple(choices)


def instantiate(choice: StrategyChoice) -> Strategy:
    """The strategy object of a choice.

    Raises:
        ConfigError: unknown strategy, or a value that it cannot take.
    """
    return _build(choice.name, choice.fields)


def controls_of(choice: StrategyChoice) -> Iterator[StrategyChoice]:
    """The random-weights baselines of a pretrained strategy: the same regime, and `full` from scratch."""
    kind = strategy_class(choice.name)
    has_weights = kind.pretraining is not None or kind.has_own_pretraining
    if not has_weights or choice.fields.get("init") != "pretrained":
        return
    regimes = [choice.fields["regime"]]
    if "full" in kind.regimes and "full" not in regimes:
        regimes.append("full")
    for regime in regimes:
        values = {**choice.fields, "init": "random", "regime": regime}
        # what this regime does not use (a rank of LoRA under full) must not make two controls of one
        unused = set(kind.search_space) - set(_build(choice.name, values).space()) | set(kind.pretraining_only_fields)
        defaults = default_values(kind)
        values |= {key: defaults[key] for key in unused}
        fixed = tuple(key for key in choice.fixed if key not in unused)
        label = _label(choice.name, values, fixed)
        control = replace(choice, label=label, fields=values, fixed=fixed, control_of=(choice.label,))
        yield _normalised(control, choice.normalisation)


def _normalisations(entry: Any, given: dict[str, Any]) -> Sequence[str]:
    """The normalisations that an entry asks for, taken out of it; "" is the grid's own."""
    if "normalisation" in given and "normalisations" in given:
        raise ConfigError(
            f"strategy entry {entry!r} has normalisation and normalisations; allowed: one of them; remove the other"
        )
    one = given.pop("normalisation", None)
    several = given.pop("normalisations", None)
    wanted = [one] if one is not None else several
    if wanted is None:
        return ("",)
    if not isinstance(wanted, Sequence) or isinstance(wanted, str) or not wanted:
        raise ConfigError(f"normalisations {wanted!r} of {entry!r}; allowed: a list of {', '.join(NORMALISATIONS)}")
    for name in wanted:
        if name not in NORMALISATIONS:
            raise unknown("normalisation", str(name), NORMALISATIONS)
    return [str(name) for name in wanted]


def _normalised(choice: StrategyChoice, normalisation: str) -> StrategyChoice:
    """The choice with a normalisation of its own, which its label shows."""
    if not normalisation:
        return choice
    shown = f"normalisation={normalisation}"
    label = f"{choice.label[:-1]},{shown}]" if choice.label.endswith("]") else f"{choice.label}[{shown}]"
    return replace(choice, label=label, normalisation=normalisation)


def _matching(name: str) -> tuple[str, ...]:
    if not WILDCARDS & set(name):
        return (name,)
    found = tuple(known for known in list_strategies() if fnmatch.fnmatchcase(known, name))
    if not found:
        raise unknown("strategy pattern", name, list_strategies())
    return found


def _regimes(name: str, regimes: Any) -> Sequence[str | None]:
    if regimes is None:
        return (None,)
    offered = strategy_class(name).regimes
    if regimes == "all":
        return offered
    if not isinstance(regimes, Sequence) or isinstance(regimes, str) or not regimes:
        raise ConfigError(f"regimes {regimes!r} of {name}; allowed: all, or a list of {', '.join(offered)}")
    return [str(regime) for regime in regimes]


def strategy_class(name: str) -> type[Strategy]:
    """The class of a strategy.

    Raises:
        ConfigError: unknown strategy, or a module that defines none.
    """
    try:
        return get_strategy(name)
    except UnknownStrategyError as error:
        hint = "See `hsfm-sweep strategy list`."
        if name.startswith(f"{PLUGIN_FAMILY}/"):
            hint = f"Load its file: add --plugin {name.removeprefix(f'{PLUGIN_FAMILY}/')}.py."
        raise unknown("strategy", name, list_strategies(), hint=hint) from error
    except StrategyError as error:
        raise ConfigError(str(error)) from error


def _choose(name: str, given: Mapping[str, Any]) -> StrategyChoice:
    kind = strategy_class(name)
    hints = field_types(kind)
    known = list(hints)
    values: dict[str, Any] = {}
    for key, value in given.items():
        if key not in known:
            raise unknown(f"field of {name}", str(key), known, hint=f"See `hsfm-sweep strategy info {name}`.")
        values[key] = coerce(value, hints[key], f"{name}: {key}")
    if "regime" in values and values["regime"] not in kind.regimes:
        raise unknown(f"regime of {name}", values["regime"], kind.regimes)
    if values.get("init") == "pretrained" and kind.pretraining is None:
        raise ConfigError(
            f"{name}: init is 'pretrained', but it has no pretrained weights; allowed: random; remove init"
        )
    strategy = _build(name, values)
    resolved = field_values(strategy)
    fixed = tuple(sorted(set(values) & set(strategy.space())))
    return StrategyChoice(name=name, label=_label(name, resolved, fixed), fields=resolved, fixed=fixed)


def _build(name: str, values: Mapping[str, Any]) -> Strategy:
    try:
        return strategy_class(name)(**values)
    except StrategyError as error:
        raise ConfigError(f"{name}: {error}") from error


def _label(name: str, resolved: Mapping[str, Any], fixed: Sequence[str]) -> str:
    """A pure function of the resolved fields, so that one strategy has one label in every grid."""
    kind = strategy_class(name)
    defaults = default_values(kind)
    shown = {key for key, value in resolved.items() if canonical(value) != canonical(defaults[key])} | set(fixed)
    if len(kind.regimes) > 1:
        shown.add("regime")
    if not shown:
        return name
    return f"{name}[{','.join(f'{key}={_text(resolved[key])}' for key in sorted(shown))}]"


def _text(value: Any) -> str:
    plain = canonical(value)
    return plain if isinstance(plain, str) else json.dumps(plain, separators=(",", ":"))
