"""The datasheet of a published checkpoint, in plain data. Imports nothing of the package."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

NOT_STATED = "none"
"""A licence that nobody has stated."""


@dataclass(frozen=True, kw_only=True)
class WeightsSpec:
    """Where a published checkpoint comes from, how its keys become a model's, and what may be done with it.

    A key of the file goes through `stripped`, then `dropped` and `dropped_patterns`, then `renamed`, then
    `key_prefixes`. What comes out must be a key of the model that `architecture` makes.
    """

    name: str
    title: str
    """One line for lists."""
    file: str
    """Path below the data root or, with `package`, inside of the installed package."""
    package: str | None = None
    """Import name of the package that carries the file; it is found, never imported."""
    requirement: str | None = None
    """What to give to pip for that package."""
    url: str | None = None
    """Public address of exactly this file."""
    huggingface: tuple[str, str, str] | None = None
    """Repository, file in it and revision on the Hugging Face hub."""
    sha256: str = ""
    """Of the file; where its publisher states no more than the beginning (in the file's name), that; "" = nothing."""
    size_bytes: int | None = None
    """None where nobody has stated it."""

    architecture: str
    """`module:callable` that makes, without arguments, the module which the file fills."""
    top_keys: tuple[str, ...] = ()
    """Entries that hold the state dict, the first that is there; a file without any of them is one itself."""
    stripped: tuple[str, ...] = ()
    """Beginnings (`module.`) taken off the file's keys, in order, each where it is there."""
    dropped: tuple[str, ...] = ()
    """Prefixes of stripped keys that the model has no place for; nothing else may be left over."""
    dropped_patterns: tuple[str, ...] = ()
    """Regular expressions of whole stripped keys that the model has no place for."""
    repeated: tuple[str, ...] = ()
    """Regular expressions of whole stripped keys under which some files repeat another key's tensor: taken only where
    the other key is not there."""
    renamed: tuple[tuple[str, str], ...] = ()
    """Pairs (regular expression, replacement), applied one after the other to what was not dropped."""
    key_prefixes: tuple[tuple[str, str], ...] = ()
    """Pairs (prefix in the file, prefix in our model); every key must have one; empty = same names."""
    allowed_missing: tuple[str, ...] = ()
    """Prefixes of the model that the file need not hold; nothing else may be missing."""
    safe_globals: tuple[str, ...] = ()
    """Classes beside tensors that the file's pickle names, of those in `_reading.SAFE_GLOBALS`."""
    parameters: int = 0
    """Numbers of parameters in the file (without running statistics); 0 = counted when it is read."""
    manifest: str | None = None
    """File in `manifests/` that lists all keys and shapes of the published file."""

    licence_code: str
    licence_weights: str
    """"none" = not stated."""
    licence_note: str = ""
    consent: str = ""
    """Name to give to `--accept-license` before the weights are used; "" where the licence is permissive."""
    wavelength_unit: Literal["nm", "um"] | None = None
    """Unit of band centres inside of the model; strategies always get nm."""
    wavelength_range_nm: tuple[float, float] | None = None
    """Range of the pretraining sensors; None for RGB."""
    wavelength_windows_nm: tuple[tuple[float, float], ...] = ()
    """Windows whose bands were really seen in pretraining, where that is less than the range."""
    min_bands: int = 1
    max_bands: int | None = None
    stem: Literal["pretrained", "new"] = "pretrained"
    """Whether the file fills what the bands go into; new = a layer before the filled module is trained from scratch."""
    normalisation: str = ""
    """What the model's input was in pretraining, in words."""
    datasets: tuple[str, ...]
    sensors: tuple[str, ...] = ()
    citation: str = ""
