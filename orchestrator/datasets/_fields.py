"""Reads plain values of a user's YAML: each function names the key, the value, what is allowed and what to do."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orchestrator.errors import ConfigError, unknown

TODO = "TODO"
"""A value that starts with this is an open question."""
SHORTEST_NM, LONGEST_NM = 150.0, 20_000.0


def open_questions(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Key and question of every value that is still to be answered."""
    if isinstance(value, Mapping):
        for name, item in value.items():
            yield from open_questions(item, f"{key}.{name}" if key else str(name))
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from open_questions(item, f"{key}[{index}]")
    elif isinstance(value, str) and value.strip().startswith(TODO):
        yield key, value.strip().removeprefix(TODO).strip(" :")


def check_keys(where: str, given: Mapping[Any, Any], known: Sequence[str], required: Sequence[str]) -> None:
    """Every key known, every required key there."""
    for key in given:
        if key not in known:
            raise ConfigError(f"{where}: {unknown('key', str(key), known)}")
    absent = [key for key in required if key not in given]
    if absent:
        raise ConfigError(f"{where}: key {absent[0]!r} is absent; required: {', '.join(required)}; add it")


def mapping(where: str, key: str, value: Any) -> Mapping[Any, Any]:
    if not isinstance(value, Mapping):
        raise ConfigError(f"{where}: {key} is {value!r}; expected keys with values")
    return value


def text(where: str, key: str, value: Any) -> str:
    if not isinstance(value, str) or not value.strip():
        raise ConfigError(f"{where}: {key} is {value!r}; expected a text that is not empty")
    return value


def choice(where: str, key: str, value: Any, allowed: Sequence[str]) -> Any:
    if value not in allowed:
        raise ConfigError(f"{where}: {unknown(key, str(value), allowed)}")
    return value


def whole(where: str, key: str, value: Any, *, at_least: int) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or value < at_least:
        raise ConfigError(f"{where}: {key} is {value!r}; expected a whole number of at least {at_least}")
    return value


def positive(where: str, key: str, value: Any) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if not number or not math.isfinite(value) or value <= 0:
        raise ConfigError(f"{where}: {key} is {value!r}; expected a number above 0")
    return float(value)


def nodata(where: str, key: str, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, str) and value.strip().lower() in ("nan", ".nan"):
        return math.nan
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ConfigError(f"{where}: {key} is {value!r}; expected a number, nan or null")
    return float(value)


def whole_list(where: str, key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, list) or any(isinstance(item, bool) or not isinstance(item, int) for item in value):
        raise ConfigError(f"{where}: {key} is {value!r}; expected a list of whole numbers, for example [0, 255]")
    return tuple(value)


def lengths_nm(where: str, key: str, value: Any, bands: int, *, shortest: float) -> tuple[float, ...] | None:
    """One length a band of the file, in nanometres; None stays None."""
    if value is None:
        return None
    if not isinstance(value, list) or len(value) != bands:
        found = f"{len(value)} values" if isinstance(value, list) else repr(value)
        raise ConfigError(f"{where}: {key} has {found}; expected a list of {bands} numbers (one a band), or null")
    numbers = tuple(positive(where, f"{key}[{index}]", item) for index, item in enumerate(value))
    if min(numbers) < shortest or max(numbers) > LONGEST_NM:
        raise ConfigError(
            f"{where}: {key} runs from {min(numbers):g} to {max(numbers):g}; expected nanometres, {shortest:g} to "
            f"{LONGEST_NM:g}; micrometres times 1000 are nanometres"
        )
    return numbers
