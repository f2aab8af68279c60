"""What is compared: label budgets, strategy choices and cells."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from orchestrator.errors import ConfigError

BudgetKind = Literal["fraction", "k_shot"]
SAMPLERS = {"fraction": ("stratified_pixels", "whole_images"), "k_shot": ("k_shot",)}


@dataclass(frozen=True, kw_only=True, order=True)
class LabelBudget:
    """How much labelled data may be used, validation labels included."""

    kind: BudgetKind
    value: float
    """A share of the labels in (0, 1], or labels a class."""
    sampler: str

    def __str__(self) -> str:
        text = f"{self.value * 100:g}%" if self.kind == "fraction" else f"{self.value:g}-shot"
        return text if self.sampler in ("stratified_pixels", "k_shot") else f"{text} {self.sampler}"

    @classmethod
    def parse(cls, value: Any) -> LabelBudget:
        """Read `0.1`, `{fraction: 0.1, sampler: whole_images}` or `{k_shot: 5}`.

        Raises:
            ConfigError: not a number in (0, 1], not a whole number of shots, or an unknown key or sampler.
        """
        allowed = "a fraction of the labels in (0, 1], or {k_shot: N} with a whole N of at least 1"
        given = dict(value) if isinstance(value, Mapping) else {"fraction": value}
        kinds = [kind for kind in SAMPLERS if kind in given]
        extra = sorted(set(given) - {*SAMPLERS, "sampler"})
        if len(kinds) != 1 or extra:
            raise ConfigError(f"label budget {value!r} is not understood; allowed: {allowed}")
        kind: BudgetKind = kinds[0]  # type: ignore[assignment]
        number = given[kind]
        bad_type = isinstance(number, bool) or not isinstance(number, int | float)
        if bad_type or not math.isfinite(number):
            raise ConfigError(f"label budget {value!r} is not a number; allowed: {allowed}")
        if kind == "fraction" and not 0 < number <= 1:
            raise ConfigError(f"label budget {number!r} is out of range; allowed: {allowed}")
        if kind == "k_shot" and (number < 1 or number != int(number)):
            raise ConfigError(f"label budget {{k_shot: {number!r}}} is out of range; allowed: {allowed}")
        sampler = given.get("sampler", SAMPLERS[kind][0])
        if sampler not in SAMPLERS[kind]:
            raise ConfigError(f"sampler {sampler!r} does not fit {kind}; allowed: {', '.join(SAMPLERS[kind])}")
        return cls(kind=kind, value=float(number), sampler=sampler)


@dataclass(frozen=True, kw_only=True)
class StrategyChoice:
    """A strategy with all its fields resolved."""

    name: str
    label: str
    """Name and, in brackets, the regime (where there is a choice), every field off its default, every fixed one."""
    fields: Mapping[str, Any]
    """Every field with its value: a changed default is another run."""
    fixed: tuple[str, ...] = ()
    """Tunable fields that the grid fixed, sorted: they leave the search space."""
    normalisation: str = ""
    """Set where the entry chose one instead of the grid's `train.normalisation`."""
    control_of: tuple[str, ...] = ()
    """Labels of the pretrained strategies that this one is a random-weights control of (one control can serve two)."""

    @property
    def family(self) -> str:
        return self.name.split("/")[0]


@dataclass(frozen=True, kw_only=True)
class Cell:
    """What is compared: one strategy on one data set with one label budget."""

    strategy: StrategyChoice
    dataset: str
    label_budget: LabelBudget
    split: str = ""
    """What the cell's block asks for instead of the grid's split; empty = the grid's."""

    def __str__(self) -> str:
        name = f"{self.strategy.label} · {self.dataset} · {self.label_budget}"
        return f"{name} · {self.split} split" if self.split else name
