"""What a strategy declares about itself in plain data: distributions, what it accepts, where weights come from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal, NamedTuple

Regime = Literal["frozen", "stem", "lora", "full"]
Initialisation = Literal["pretrained", "random", "synthetic"]
"""synthetic: random numbers in the published file's layout, loaded like it; proves the path, not the model."""
Quantity = Literal["toa_reflectance", "surface_reflectance", "radiance", "raw"]


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
    """Normalisation the model was made for, in the words of `train.normalisation`; it overrides the grid's setting.

    None = the grid's.
    """


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
class OwnPretraining:
    """What a strategy's own `pretrain` stage does; its runs are shared by all cells that ask for the same."""

    sources: tuple[str, ...]
    """Data sets that are learned from; empty where the pool is `target`."""
    pool: Literal["source", "source+target_unlabelled", "target"]
    """Whose spectra are learned from; of a target only pixels of its training side, never their labels."""
    is_supervised: bool
    """Whether labels of the sources are used."""
    steps: int
    batch_size: int
    """Windows a step, over all workers; each step's windows come from one data set, in turn."""
    learning_rate: float
    weight_decay: float
    warmup_fraction: float
    seeds: int
    """Independent pretrainings; final seed s builds on number s modulo this."""
    fields: tuple[str, ...]
    """Fields of the strategy that change the pretraining: two cells that agree in them share it."""


class Bands(NamedTuple):
    """The bands of one data set."""

    num_bands: int
    wavelengths_nm: tuple[float, ...] | None
    num_classes: int


def of_regime(space: Mapping[str, Distribution], regime: Regime) -> dict[str, Distribution]:
    """The distributions that a regime reads: a rank is for lora alone, a decay over layers for full alone."""
    unused = {name for name, own in (("lora_rank", "lora"), ("layer_decay", "full")) if regime != own}
    return {name: one for name, one in space.items() if name not in unused}
