"""Values from a grid file against the declared type of a strategy's field."""

from __future__ import annotations

import types
from typing import Any, Literal, Union, get_args, get_origin

from orchestrator.errors import ConfigError, unknown


def coerce(value: Any, declared: Any, where: str) -> Any:
    """`value` as the declared type: 1 becomes 1.0 for a float, a list becomes a tuple.

    Args:
        value: plain YAML data.
        declared: a type hint: bool, int, float, str, None, Literal, tuple, or a union of these.
        where: what the value is, for messages: "in_domain/unet: lr".

    Raises:
        ConfigError: a value that is not of the declared type.
    """
    if get_origin(declared) is Literal:
        choices = get_args(declared)
        if value not in choices:
            raise unknown(f"value of {where}", str(value), [str(choice) for choice in choices])
        return value
    fits, converted = _convert(value, declared)
    if not fits:
        raise ConfigError(f"{where} is {value!r}; allowed: {_name(declared)}; change it in the grid")
    return converted


def _convert(value: Any, declared: Any) -> tuple[bool, Any]:
    origin = get_origin(declared)
    if origin in (Union, types.UnionType):
        for option in get_args(declared):
            fits, converted = _convert(value, option)
            if fits:
                return True, converted
        return False, value
    if origin is Literal:
        return value in get_args(declared), value
    if origin is tuple or declared is tuple:
        return isinstance(value, list | tuple), tuple(value) if isinstance(value, list | tuple) else value
    if declared is type(None) or declared is None:
        return value is None, value
    if declared is float:
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        return is_number and value == value and abs(value) != float("inf"), float(value) if is_number else value
    if declared is int:
        is_whole = isinstance(value, int | float) and not isinstance(value, bool) and value == value // 1
        return is_whole, int(value) if is_whole else value
    if declared in (bool, str):
        return isinstance(value, declared), value
    return True, value


def _name(declared: Any) -> str:
    names = {float: "a number", int: "a whole number", bool: "true or false", str: "a text"}
    return names.get(declared, str(declared))
