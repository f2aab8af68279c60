"""From the keys of a published file to those of our model: the rules of a datasheet, applied. Imports no torch."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field

from strategies.backbones._spec import WeightsSpec


@dataclass(frozen=True, kw_only=True)
class KeyMap:
    """Every key of a file, in one of three places."""

    mapped: dict[str, str] = field(default_factory=dict)
    """Key of the file to key of the model."""
    dropped: list[str] = field(default_factory=list)
    """Keys that the datasheet allows to be left out."""
    unexpected: list[str] = field(default_factory=list)
    """Keys that no rule covers, each with what is wrong."""


def map_keys(keys: Iterable[str], spec: WeightsSpec, *, are_stripped: bool = False) -> KeyMap:
    """Sort a file's keys by the rules of its datasheet.

    Args:
        keys: as in the file.
        spec: the datasheet.
        are_stripped: the keys have lost their wrappers' beginnings already (a converted file).
    """
    sorted_out, owner = KeyMap(), dict[str, str]()
    plain_of = {key: key if are_stripped else strip(key, spec) for key in keys}
    again = {key for key, plain in plain_of.items() if any(re.fullmatch(pattern, plain) for pattern in spec.repeated)}
    for key in sorted(plain_of, key=lambda key: key in again):  # repetitions last, the others in the file's order
        plain = plain_of[key]
        if is_dropped(plain, spec):
            sorted_out.dropped.append(key)
            continue
        new = _renamed(plain, spec)
        if new is None:
            sorted_out.unexpected.append(key)
        elif new in owner and key in again:
            sorted_out.dropped.append(key)
        elif new in owner:
            sorted_out.unexpected.append(f"{key} -> {new}, which {owner[new]} has taken")
        else:
            owner[new] = key
            sorted_out.mapped[key] = new
    return sorted_out


def strip(key: str, spec: WeightsSpec) -> str:
    """A file's key without the beginnings that wrappers have put before it."""
    for beginning in spec.stripped:
        key = key.removeprefix(beginning)
    return key


def is_dropped(stripped_key: str, spec: WeightsSpec) -> bool:
    """Whether the model has no place for a key, by the datasheet."""
    return has_prefix(stripped_key, spec.dropped) or any(
        re.fullmatch(pattern, stripped_key) for pattern in spec.dropped_patterns
    )


def has_prefix(key: str, prefixes: tuple[str, ...]) -> bool:
    """Whether a key is one of the prefixes or lies below one."""
    return any(key == prefix or key.startswith(prefix + ".") for prefix in prefixes)


def _renamed(key: str, spec: WeightsSpec) -> str | None:
    for pattern, replacement in spec.renamed:
        key = re.sub(pattern, replacement, key)
    if not spec.key_prefixes:
        return key
    pair = next((pair for pair in spec.key_prefixes if has_prefix(key, (pair[0],))), None)
    return None if pair is None else pair[1] + key[len(pair[0]) :]
