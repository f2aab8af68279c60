"""Checks of the values and band lists that a strategy is given. Every text says value, allowed, what to do."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, get_args, get_origin

if TYPE_CHECKING:
    from strategies._base import Strategy

PLAUSIBLE_NM = (100.0, 20_000.0)
"""Band centres of every optical sensor."""
EXTRAS = {"torchgeo": "geo"}
"""The extra of this package that brings a package, by its import name."""


class StrategyError(ValueError):
    """A strategy was given a value it cannot take; the text says value, allowed, what to do."""


def check_value(owner: str, name: str, value: Any, hint: Any) -> None:
    """Check one field against its annotation, as far as YAML can get it wrong: choices, whole numbers, numbers."""
    if get_origin(hint) is Literal:
        allowed = get_args(hint)
        if value not in allowed:
            raise StrategyError(
                f"{name} {value!r} is not offered by {owner}; allowed: {', '.join(map(str, allowed))}; set one of these"
            )
    elif hint is int and (isinstance(value, bool) or not isinstance(value, int)):
        raise StrategyError(f"{name} {value!r} of {owner} is not a whole number; give one")
    elif hint is float and (isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value)):
        raise StrategyError(f"{name} {value!r} of {owner} is not a finite number; give one")


def check_range(name: str, value: float, low: float, high: float) -> None:
    """Refuse a field's value outside of [low, high].

    Raises:
        StrategyError: with the value and the allowed range.
    """
    if not low <= value <= high:
        raise StrategyError(f"{name} {value!r} is out of range; allowed: {low:g} to {high:g}; set {name} inside of it")


def check_bands(strategy: Strategy, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:
    """Check a band list against what a strategy accepts.

    Raises:
        StrategyError: too few or too many bands, missing wavelengths, a list of another length or bands out of range.
    """
    accepts, name = strategy.accepts, type(strategy).__name__
    most = accepts.max_bands if accepts.max_bands is not None else math.inf
    if not accepts.min_bands <= num_bands <= most:
        allowed = f"{accepts.min_bands} or more" if most == math.inf else f"{accepts.min_bands} to {accepts.max_bands}"
        raise StrategyError(f"{num_bands} bands: {name} takes {allowed}; choose another strategy or data set")
    if wavelengths_nm is None:
        if accepts.needs_wavelengths:
            raise StrategyError(
                f"wavelengths are unknown: {name} needs a band centre in nm for each band; give wavelengths_nm"
            )
        return
    if len(wavelengths_nm) != num_bands or not all(math.isfinite(w) and w > 0 for w in wavelengths_nm):
        raise StrategyError(
            f"{len(wavelengths_nm)} wavelengths for {num_bands} bands: "
            f"{name} needs one positive number in nm for each band"
        )
    if accepts.needs_wavelengths or accepts.wavelength_range_nm is not None:
        check_nanometres(wavelengths_nm)
    if accepts.wavelength_range_nm is not None:
        low, high = accepts.wavelength_range_nm
        outside = [w for w in wavelengths_nm if not low <= w <= high]
        if outside:
            raise StrategyError(
                f"{len(outside)} of {num_bands} bands, for example {outside[0]:g} nm, lie out of range: "
                f"{name} takes {low:g} to {high:g} nm; drop these bands or choose another strategy"
            )


def check_nanometres(wavelengths_nm: Sequence[float]) -> None:
    """Refuse band centres that cannot be nanometres of light: models read the unit's size, and would not complain.

    Raises:
        StrategyError: a centre outside of 100 to 20000.
    """
    low, high = PLAUSIBLE_NM
    implausible = [centre for centre in wavelengths_nm if not low <= centre <= high]
    if implausible:
        guess = "; it looks like micrometres, so give it times 1000" if implausible[0] < low else ""
        raise StrategyError(
            f"band centre {implausible[0]:g} is out of range; allowed: nanometres, {low:g} to {high:g}{guess}"
        )


def missing_packages(strategy: Strategy | type[Strategy]) -> str:
    """Which of the packages that a strategy requires are not installed, and what to do; empty where none is missing.

    They are found, never imported: a plan has to stay quick.
    """
    missing = [package for package in strategy.requires if importlib.util.find_spec(package) is None]
    if not missing:
        return ""
    extras = sorted({EXTRAS[package] for package in missing if package in EXTRAS})
    remedy = f"pip install 'hsfm-sweep[{','.join(extras)}]'" if extras else f"pip install {' '.join(missing)}"
    return f"{', '.join(missing)} is not installed; {remedy}"


def check_packages(strategy: Strategy) -> None:
    """Refuse to build a strategy whose packages are not installed.

    Raises:
        StrategyError: with the command that installs them.
    """
    problem = missing_packages(strategy)
    if problem:
        raise StrategyError(f"{type(strategy).__name__}: {problem}")
