"""Does a cube fit a model? Bands, wavelengths and the size of the numbers, looked at before anything is predicted."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from orchestrator.errors import ConfigError, DataError
from orchestrator.prediction.cubes import Cube

TOLERANCE_NM = 2.0
"""Band centres may differ by this, or by half the distance to the nearest other band where that is more."""
SAMPLE_SIDE = 64
"""Rows and columns of the grid of pixels that are looked at."""
FAR = 50.0
"""Numbers so many times larger or smaller than in training are another unit, not another scene."""
MANY_OUTSIDE = 0.05
"""Share of numbers outside the widened training range that is worth a warning."""

Outcome = Literal["ok", "changed", "skipped", "warning"]


@dataclass(kw_only=True)
class Fit:
    """How a cube is brought to a model, and what was found on the way."""

    bands: NDArray[np.intp] | None = None
    """Bands of the cube to take, in order; None = all."""
    factor: float = 1.0
    """The cube's numbers are multiplied by this."""
    nodata: float | None = None
    checks: list[dict[str, str]] = field(default_factory=list)

    def note(self, check: str, outcome: Outcome, text: str) -> None:
        self.checks.append({"check": check, "outcome": outcome, "text": text})

    @property
    def warnings(self) -> list[str]:
        return [one["text"] for one in self.checks if one["outcome"] == "warning"]

    def read(self, cube: Cube, rows: slice, columns: slice) -> tuple[NDArray[Any], NDArray[np.bool_] | None]:
        """A window in the model's bands and numbers, and which pixels hold data (None: all).

        A pixel holds data where all of its bands are finite and none is the file's nodata value.
        """
        window = cube.cube_HWC[rows, columns]
        if self.bands is not None:
            window = window[:, :, self.bands]
        valid = np.ones(window.shape[:2], dtype=bool)
        if window.dtype.kind == "f":
            valid &= np.isfinite(window).all(axis=2)
        if self.nodata is not None:
            valid &= ~(window == self.nodata).any(axis=2)
        if self.factor != 1:
            window = window.astype(np.float64) * self.factor
        if valid.all():
            return window, None
        return np.where(valid[:, :, None], window, 0), valid


def check_cube(
    cube: Cube, facts: Mapping[str, Any], *, scale: float | None = None, ignore_wavelengths: bool = False
) -> Fit:
    """Compare a cube with what its model was trained on.

    Args:
        cube: the cube, open.
        facts: what the model's config.json says.
        scale: the cube's numbers are to be multiplied by this; None = as the file's own scale factor says, if any.
        ignore_wavelengths: predict though the band centres do not fit; recorded as a warning.

    Raises:
        ConfigError: a scale that is no number or 0.
        DataError: other bands, other wavelengths, or numbers of another unit.
    """
    fit = Fit(nodata=cube.nodata)
    _check_bands(fit, cube, facts)
    _check_wavelengths(fit, cube, facts, ignore_wavelengths)
    _check_numbers(fit, cube, facts, scale)
    return fit


def band_counts(facts: Mapping[str, Any]) -> tuple[int, ...]:
    """Band counts that fit a model: its own, and that of the original with the bands that the data set drops."""
    count, dropped = int(facts["num_bands"]), len(facts.get("dropped_bands") or ())
    return (count, count + dropped) if dropped else (count,)


def _check_bands(fit: Fit, cube: Cube, facts: Mapping[str, Any]) -> None:
    wanted, dropped = int(facts["num_bands"]), tuple(facts.get("dropped_bands") or ())
    count = cube.cube_HWC.shape[2]
    if count == wanted:
        fit.note("bands", "ok", f"{count} bands")
        return
    fit.bands = np.setdiff1d(np.arange(count), dropped)
    fit.note(
        "bands",
        "changed",
        f"{count} bands; {len(dropped)} dropped as in {facts['dataset']}: {', '.join(map(str, dropped))} (from 0)",
    )


def _check_wavelengths(fit: Fit, cube: Cube, facts: Mapping[str, Any], ignored: bool) -> None:
    if not facts.get("wavelengths_nm"):
        fit.note("wavelengths", "skipped", f"not compared: {facts['dataset']} states none")
        return
    if cube.wavelengths_nm is None:
        advice = "make sure that the bands are the model's, in its order"
        fit.note("wavelengths", "skipped", f"not compared: the cube's file states none that can be read; {advice}")
        return
    model = np.asarray(facts["wavelengths_nm"], dtype=float)
    found = np.asarray(cube.wavelengths_nm, dtype=float)
    found = found if fit.bands is None else found[fit.bands]
    tolerance = _tolerance(model)
    in_micrometers = found * 1000
    for centres, unit in ((found, cube.wavelength_unit), (in_micrometers, "micrometers, by their size")):
        off = np.abs(centres - model)
        if (off <= tolerance).all():
            is_nm = unit.lower() in ("nm", "nanometers", "nanometer")
            text = f"band centres agree within {off.max():.2g} nm"
            text += "" if is_nm else f"; converted from {unit}"
            fit.note("wavelengths", "ok" if is_nm else "changed", text)
            return
    try:
        _refuse_wavelengths(cube, found, model, tolerance)
    except DataError as error:
        if not ignored:
            raise
        fit.note("wavelengths", "warning", f"ignored as asked: {error}")


def _tolerance(model: NDArray[np.float64]) -> NDArray[np.float64]:
    """Largest deviation that is taken for the same band, by band."""
    ordered = np.argsort(model)
    gaps = np.concatenate([[np.inf], np.diff(model[ordered]), [np.inf]])
    nearest = np.minimum(gaps[:-1], gaps[1:])
    tolerance = np.empty_like(model)
    tolerance[ordered] = np.maximum(TOLERANCE_NM, np.where(np.isfinite(nearest), nearest, 0) / 2)
    return tolerance


def _refuse_wavelengths(
    cube: Cube, found: NDArray[np.float64], model: NDArray[np.float64], tolerance: NDArray[np.float64]
) -> None:
    """Say whether it is the order or the bands themselves."""
    off = np.abs(found - model)
    by_wavelength = np.argsort(model, kind="stable")
    same_bands = (np.abs(np.sort(found) - model[by_wavelength]) <= tolerance[by_wavelength]).all()
    first = int(np.argmax(off > tolerance))
    if same_bands:
        is_reversed = (np.abs(found[::-1] - model) <= tolerance).all()
        how = (
            "reverse them: cube[:, :, ::-1]"
            if is_reversed
            else "sort them as in wavelengths_nm of the model's config.json"
        )
        raise DataError(
            f"cube {cube.path} has the model's bands in another order: band {first} (from 0) lies at "
            f"{found[first]:g} nm, the model's at {model[first]:g} nm; {how}, and the list in its header with them"
        )
    worst = int(np.argmax(off - tolerance))
    raise DataError(
        f"cube {cube.path} has other bands than the model: {int((off > tolerance).sum())} of {len(model)} centres are "
        f"further off than allowed, most band {worst} (from 0) with {found[worst]:g} nm against {model[worst]:g} nm "
        f"(allowed: {tolerance[worst]:.3g} nm); resample the cube to the model's band centres (wavelengths_nm in its "
        "config.json), or use --ignore-wavelengths if its header is wrong"
    )


def _sample(fit: Fit, cube: Cube) -> NDArray[np.float64]:
    """Spectra `[n, C]` of pixels with data on a regular grid, in the model's bands, the cube's numbers."""
    height, width, _ = cube.cube_HWC.shape
    rows = np.unique(np.linspace(0, height - 1, SAMPLE_SIDE).astype(int))
    columns = slice(0, width, max(1, -(-width // SAMPLE_SIDE)))
    parts = []
    for row in rows:
        spectra, valid = fit.read(cube, slice(row, row + 1), columns)
        parts.append((spectra if valid is None else spectra[valid][None])[0].astype(np.float64))
    return np.concatenate(parts)


def _check_numbers(fit: Fit, cube: Cube, facts: Mapping[str, Any], scale: float | None) -> None:
    if scale is not None and not (math.isfinite(scale) and scale != 0):
        raise ConfigError(f"scale {scale:g} is not possible; allowed: a number other than 0; correct --scale")
    spectra = _sample(fit, cube)
    fit.factor, why = _factor(cube, facts, scale)
    if fit.factor != 1:
        fit.note("scale", "changed", f"numbers multiplied by {fit.factor:g}: {why}")
    if not len(spectra):
        fit.note("numbers", "warning", "none of the pixels that were looked at holds data")
        return
    spectra = spectra * fit.factor
    statistics = {name: np.asarray(values) for name, values in facts["statistics"].items()}
    trained = np.sqrt(statistics["mean_C"] ** 2 + statistics["std_C"] ** 2)
    here = np.sqrt((spectra**2).mean(axis=0))
    used = trained > 0
    ratio = float(np.median(here[used] / trained[used])) if used.any() else 1.0
    low, high = statistics["minimum_C"], statistics["maximum_C"]
    numbers = (
        f"its numbers are typically {np.median(here):.3g} ({spectra.min():.3g} to {spectra.max():.3g}), those of "
        f"{facts['dataset']} {np.median(trained):.3g} ({low.min():.3g} to {high.max():.3g}; "
        f"{facts.get('quantity', 'raw')}, scale {facts.get('scale', 1):g})"
    )
    if not 1 / FAR < ratio < FAR:
        text = f"cube {cube.path} is in another unit than the model's data: {numbers}"
        if scale is None:
            likely = 10.0 ** round(-math.log10(ratio)) if ratio > 0 else 1.0
            raise DataError(
                f"{text}; if that is the unit alone, multiply the numbers: --scale {likely:.10g}; "
                "--scale 1 predicts them as they are"
            )
        fit.note("numbers", "warning", f"{text}; predicted all the same, as --scale was given")
        return
    margin = (high - low) / 2
    outside = float(((spectra < low - margin) | (spectra > high + margin)).mean())
    if outside > MANY_OUTSIDE:
        fit.note("numbers", "warning", f"{outside:.0%} of the numbers lie far outside the training range: {numbers}")
    else:
        fit.note("numbers", "ok", numbers)


def _factor(cube: Cube, facts: Mapping[str, Any], scale: float | None) -> tuple[float, str]:
    """What to multiply by: as asked, or as the scale factors of cube and data set say where both are reflectances."""
    if scale is not None:
        return float(scale), "as asked with --scale"
    own = float(facts.get("scale") or 1.0)
    if cube.scale and str(facts.get("quantity", "")).endswith("reflectance") and cube.scale != own:
        return own / cube.scale, f"the file states the scale factor {cube.scale:g}, the model's data have {own:g}"
    return 1.0, ""
