"""What a comparison consists of: one row a cell, as plain data. Computes nothing."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

CellState = Literal["complete", "incomplete", "failed", "blocked"]


@dataclass(frozen=True, kw_only=True)
class Gain:
    """Differences to a control, paired by seed: the same labelled subset, fold and seed on both sides."""

    control: str
    """Label of the control."""
    mean: float
    spread: float | None
    """Sample standard deviation of the differences; None for one pair."""
    pairs: int
    differences: Mapping[int, float]
    """By seed."""
    interval: tuple[float, float] | None = None
    """95% bootstrap interval of the mean over seeds; None for few pairs."""
    p_adjusted: float | None = None
    """Signed-rank test after Holm over all gains of the comparison; None where the pairs cannot carry one."""
    verdict: str | None = None
    """better, worse, equivalent (within one point) or undecided; None without a test."""


@dataclass(frozen=True, kw_only=True)
class ComparisonRow:
    """One cell of the comparison; every number that does not exist is None."""

    strategy: str
    strategy_name: str
    regime: str | None
    init: str | None
    dataset: str
    labels: str
    """human, or derived (from a model): shown, and left out of every choice and aggregate."""
    label_budget: str
    budget_kind: str | None
    budget_value: float | None
    transfer: str | None
    leakage: str | None
    split: str | None
    selection: str | None
    normalisation_scope: str | None = None
    optional: bool = False
    control_of: tuple[str, ...] = ()
    """Labels of the pretrained strategies that it is a control of."""
    cell_id: str | None
    state: CellState
    reason: str = ""
    metric: str
    values: Mapping[int, float] = field(default_factory=dict)
    """Test score of each finished final run, by seed, also where the cell is not complete."""
    seeds_expected: int | None = None
    mean: float | None = None
    spread: float | None = None
    """Sample standard deviation (ddof = 1) over seeds; None for one seed."""
    interval: tuple[float, float] | None = None
    """95% bootstrap interval of the mean over seeds; None for fewer than five."""
    oa_border: float | None = None
    """Overall accuracy of the test pixels within 2 px of another class, mean over seeds; None where not measured."""
    oa_interior: float | None = None
    """The same of all other test pixels."""
    validation_mean: float | None = None
    """Mean over seeds of the validation score that chooses, of the weights that were tested."""
    chosen: bool = False
    """Best of its data set and label budget by validation score, pretrained or not."""
    chosen_by: str | None = None
    """The validation score that `chosen` and `validation_mean` go by, where it is not `metric`."""
    labels_train: float | None = None
    labels_validation: float | None = None
    classes_trained: int | None = None
    classes: int | None = None
    class_iou: Mapping[str, float | None] = field(default_factory=dict)
    """Test IoU by class name, mean over seeds; empty where the cell is not complete."""
    audit: Mapping[str, Any] | None = None
    """What the split of the first seed lets through, as the audit of the data set reports it."""
    parameters_total: int | None = None
    parameters_trained: int | None = None
    """The largest over the final runs: a tuned LoRA rank can differ between folds."""
    bands_used: int | None = None
    device_s: Mapping[str, float] = field(default_factory=dict)
    """Device seconds by stage of the cell's own runs, stopped and failed ones included."""
    shared_s: Mapping[str, float] = field(default_factory=dict)
    """Device seconds by stage of what it builds on and shares with other cells; in none of its own."""
    gain_same_regime: Gain | None = None
    """Over random weights with the same regime: what pretraining gave."""
    gain_full: Gain | None = None
    """Over training everything from random weights."""

    @property
    def group(self) -> tuple[str, str, str]:
        """Data set, label budget and split: only cells of one group are compared. Another split is another test set."""
        return self.dataset, self.label_budget, self.split or ""
