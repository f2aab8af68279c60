"""What every strategy is: a frozen dataclass whose fields are its hyperparameters.

A strategy module is imported at plan time, so it must not import torch (or scikit-learn, or timm) at module level:
only inside `build`, `fit` and the like. Only plain values and torch modules cross this seam: a strategy knows
nothing of Ray, MLflow, Optuna or the orchestrator.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from typing import (
    TYPE_CHECKING,
    Any,
    ClassVar,
    Literal,
    Protocol,
    get_args,
    get_origin,
    get_type_hints,
    runtime_checkable,
)

if TYPE_CHECKING:
    import numpy as np
    from torch import Tensor, nn

Regime = Literal["frozen", "stem", "lora", "full"]
Initialisation = Literal["pretrained", "random"]
Quantity = Literal["toa_reflectance", "surface_reflectance", "radiance", "raw"]


class StrategyError(ValueError):
    """A strategy was given a value it cannot take; the text says value, allowed, what to do."""


@dataclass(frozen=True)
class Float:
    """A real hyperparameter in [low, high]."""

    low: float
    high: float
    log: bool = False


@dataclass(frozen=True)
class Int:
    """An integer hyperparameter in [low, high]."""

    low: int
    high: int
    log: bool = False


@dataclass(frozen=True)
class Categorical:
    """One of a few values."""

    choices: tuple[Any, ...]


Distribution = Float | Int | Categorical


@dataclass(frozen=True, kw_only=True)
class Accepts:
    """What a strategy can take; checked at plan time against the data set's facts."""

    quantities: tuple[Quantity, ...] | None = None
    """Physical quantities; None = any number will do, because the model only sees normalised bands."""
    needs_wavelengths: bool = False
    """Whether band centres in nm must be known."""
    wavelength_range_nm: tuple[float, float] | None = None
    """Band centres outside of this range cannot be used."""
    min_bands: int = 1
    max_bands: int | None = None
    normalisation: str | None = None
    """Normalisation the model was made for, in the words of `train.normalisation`; overrides the grid's setting. None = the grid's."""


@dataclass(frozen=True, kw_only=True)
class Pretraining:
    """Where a strategy's initial weights come from: the facts that `transfer` and `leakage` are derived from."""

    weights: str
    """Name in the weights registry (`strategies/backbones/_weights.py`)."""
    modality: Literal["rgb", "hsi"]
    domain: Literal["natural_images", "remote", "proximal"]
    datasets: tuple[str, ...]
    """Names of the pretraining data sets."""
    sensors: tuple[str, ...] = ()
    """Sensors of the pretraining data: the same sensor in a target makes leakage `possible`."""
    supervised: bool = True


@dataclass(frozen=True, kw_only=True)
class Strategy:
    """Base of all strategies. Fields are hyperparameters; class variables are facts in plain data."""

    regime: Regime = "full"
    """Which weights train: frozen (head only), stem (input layer and head), lora, full."""
    init: Initialisation = "random"
    """Where the weights come from."""

    summary: ClassVar[str] = ""
    """One line for lists and tables."""
    kind: ClassVar[Literal["network", "estimator"]] = "network"
    """network: `build` gives a torch module. estimator: `fit` and `predict` on arrays (scikit-learn)."""
    regimes: ClassVar[tuple[Regime, ...]] = ("full",)
    """Regimes this strategy offers."""
    search_space: ClassVar[Mapping[str, Distribution]] = {}
    """Tuned fields, at most four; every key is a field and every default lies inside."""
    accepts: ClassVar[Accepts] = Accepts()
    pretraining: ClassVar[Pretraining | None] = None
    """None for strategies without pretrained weights; they need no controls."""
    implementation_version: ClassVar[int] = 1
    """Raised by hand when a change alters numbers; it is in every run's key."""
    reference_step_s: ClassVar[float] = 0.05
    """Seconds of one optimiser step at the default batch on one CPU core (for an estimator: of one fit), for cost estimates only."""

    def __post_init__(self) -> None:
        """Check the values of the fields.

        Raises:
            StrategyError: a choice that is not offered, a number that is not finite, or a regime or initialisation
                that this strategy does not have.
        """
        for name, hint in _field_types(type(self)).items():
            _check_value(type(self).__name__, name, getattr(self, name), hint)
        if self.regime not in self.regimes:
            raise StrategyError(
                f"regime {self.regime!r} is not offered; allowed: {', '.join(self.regimes)}; set one of these"
            )
        if self.init == "pretrained" and self.pretraining is None:
            raise StrategyError(
                "init 'pretrained' is not offered: this strategy has no weights; allowed: random; leave init out"
            )

    @property
    def receptive_field_px(self) -> int:
        """Side in pixels of the neighbourhood that one output pixel can see; 1 = each pixel on its own."""
        raise NotImplementedError

    def space(self) -> Mapping[str, Distribution]:
        """The tuned fields of this instance (a regime may tune fewer than the class lists)."""
        return self.search_space

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,
        weights_path: str | None = None,
    ) -> nn.Module:
        """The model: maps `x_BCHW` (float32, normalised) to logits `[B, num_classes, H, W]`, regime applied.

        Args:
            num_bands: bands of the data set, in the order of the cube.
            wavelengths_nm: band centres in nm, same order, or None where unknown.
            num_classes: number of scored classes.
            image_size: side in pixels of the patches it will be trained on.
            weights_path: local file with the pretrained weights; needed when `init` is "pretrained".

        Raises:
            StrategyError: a value the model cannot take, or weights that do not fit.
        """
        raise NotImplementedError

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:  # noqa: ARG002
        """Fit data-dependent initial weights (for example a PCA projection) on normalised training spectra `[N, C]`.

        Called once after `build`, before training, on rank 0's draw shared by all ranks. Default: nothing.
        """
        return

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Optimiser groups: every trainable parameter exactly once, each group with its `lr`."""
        raise NotImplementedError


@runtime_checkable
class Estimator(Protocol):
    """The extra contract of strategies whose `kind` is "estimator"."""

    def features(self, cube_HWC: np.ndarray, visible_HW: np.ndarray) -> np.ndarray:
        """Features of every pixel, `[H, W, F]`, float32, from a normalised cube; pixels where `visible_HW` is False must not be used."""

    def fit(self, features_NF: np.ndarray, labels_N: np.ndarray, *, seed: int) -> Any:
        """A fitted model (anything `predict` understands)."""

    def predict(self, model: Any, features_NF: np.ndarray) -> np.ndarray:
        """Class index of each row."""


@functools.cache
def _field_types(strategy: type[Strategy]) -> dict[str, Any]:
    hints = get_type_hints(strategy)
    return {f.name: hints[f.name] for f in fields(strategy)}


def _check_value(owner: str, name: str, value: Any, hint: Any) -> None:
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
            f"{len(wavelengths_nm)} wavelengths for {num_bands} bands: {name} needs one positive number in nm for each band"
        )
    if accepts.wavelength_range_nm is not None:
        low, high = accepts.wavelength_range_nm
        outside = [w for w in wavelengths_nm if not low <= w <= high]
        if outside:
            raise StrategyError(
                f"{len(outside)} of {num_bands} bands, for example {outside[0]:g} nm, lie out of range: "
                f"{name} takes {low:g} to {high:g} nm; drop these bands or choose another strategy"
            )


def field_values(strategy: Strategy) -> dict[str, Any]:
    """All fields of a strategy, resolved, in declaration order."""
    return {f.name: getattr(strategy, f.name) for f in fields(strategy)}
