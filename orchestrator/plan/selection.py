"""Where validation labels come from, and which split a cell uses."""

from __future__ import annotations

from orchestrator.errors import ConfigError
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.facts import DatasetFacts

HELD_OUT_FROM_SHOTS = 5
"""Fewest shots of which one can be held out for validation."""
LEAVE_ONE_SCENE_OUT = "leave_one_scene_out"
"""Hyperparameters are chosen on the grid's other scenes (see `leave_one_scene_out`)."""
WITHOUT_VALIDATION = ("none", "held_out_shots", LEAVE_ONE_SCENE_OUT)
"""Selections whose final runs have no validation labels."""


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
    if requested in ("none", LEAVE_ONE_SCENE_OUT):
        return requested
    if shots == 1:
        raise ConfigError(
            f"search.selection {requested!r} with the label budget {budget}: one label a class leaves none for "
            "validation; allowed: none, auto or leave_one_scene_out; set search.selection=none"
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


def task_mismatch(facts: DatasetFacts, split: str, budget: LabelBudget, selection: str) -> str:
    """Why this data set cannot be split and sampled as the grid asks; empty where it can."""
    if facts.labels == "none":
        return f"{facts.name} has no labels: it can be predicted on (hsfm-sweep predict), not trained on"
    if (split == "block") != (facts.task == "scene") and split != "random":
        kind = "a single scene" if facts.task == "scene" else "a set of images"
        own = "block" if facts.task == "scene" else "images"
        return f"split {split!r} does not fit {facts.name}, which is {kind}; allowed: default, {own}, random"
    if split == "random" and selection == "validation_full":
        return "validation_full needs a validation side, which split 'random' does not have; allowed: split: default"
    if split == "random" and budget.kind == "fraction" and budget.value >= 1:
        return "a label budget of 100% with split 'random' leaves no pixel to test; allowed: a smaller fraction"
    if budget.sampler == "whole_images" and split != "images":
        return f"sampler whole_images does not fit {facts.name} with split {split!r}; allowed: stratified_pixels"
    return ""
