"""Where validation labels come from, and which split a cell uses."""

from __future__ import annotations

from orchestrator.errors import ConfigError
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.facts import DatasetFacts

HELD_OUT_FROM_SHOTS = 5
"""Fewest shots of which one can be held out for validation."""


def resolve_selection(requested: str, budget: LabelBudget) -> str:
    """The selection source of a cell: `auto` resolved, impossible requests refused.

    Raises:
        ConfigError: a source that this label budget cannot have.
    """
    shots = budget.value if budget.kind == "k_shot" else None
    if requested == "auto":
        if shots is None:
            return "validation_matched"
        return "held_out_shots" if shots >= HELD_OUT_FROM_SHOTS else "none"
    if requested == "none":
        return "none"
    if shots == 1:
        raise ConfigError(
            f"search.selection {requested!r} with the label budget {budget}: one label a class leaves none for "
            "validation; allowed: none or auto; set search.selection=none"
        )
    if requested == "held_out_shots" and (shots is None or shots < HELD_OUT_FROM_SHOTS):
        raise ConfigError(
            f"search.selection 'held_out_shots' with the label budget {budget}; allowed: {{k_shot: N}} with N of at "
            f"least {HELD_OUT_FROM_SHOTS}; set search.selection=auto or change the label budget"
        )
    return requested


def resolve_split(requested: str, facts: DatasetFacts) -> str:
    """The kind of split: the data set's own for `default`."""
    return facts.split if requested == "default" else requested


def number_of_folds(split: str, facts: DatasetFacts) -> int:
    """Cross-validation folds: the data set's for its own split, one for any other."""
    return facts.folds if split == facts.split else 1
