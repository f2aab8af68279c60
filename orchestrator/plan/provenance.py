"""What a cell transfers, and whether pretraining saw the target: derived from facts, never from a folder's name."""

from __future__ import annotations

from typing import Literal

from orchestrator.plan.facts import DatasetFacts
from strategies._base import Pretraining, Strategy

Transfer = Literal["in_domain", "cross_modality", "cross_domain", "cross_scene"]
Leakage = Literal["none", "possible", "unlabelled_target", "known"]


SYNTHETIC = "synthetic:"
"""Before the name of weights whose file is made of random numbers."""
SYNTHETIC_NOTE = "synthetic weights: proves the loading path, the score says nothing about the model"


def used_pretraining(strategy: Strategy) -> Pretraining | None:
    """The pretraining whose weights this strategy starts from; None for random and for synthetic weights."""
    return strategy.pretraining if strategy.init == "pretrained" else None


def used_weights(strategy: Strategy) -> str | None:
    """Name in the weights registry of what this instance loads, after `SYNTHETIC` where its numbers are random.

    None where it loads no published file.
    """
    if strategy.pretraining is None or strategy.init == "random":
        return None
    # a model of several sizes has a file for each
    own_name = getattr(strategy, "weights_name", None)
    name: str = own_name() if own_name is not None else strategy.pretraining.weights
    return f"{SYNTHETIC}{name}" if strategy.init == "synthetic" else name


def transfer(pretraining: Pretraining | None, facts: DatasetFacts) -> Transfer:
    """How knowledge reaches the target.

    Returns:
        in_domain (nothing but the target's own data), cross_modality (RGB to hyperspectral), cross_domain (remote
        to proximal sensing or back), or cross_scene (the same domain, another scene or sensor).
    """
    if pretraining is None:
        return "in_domain"
    if pretraining.modality == "rgb":
        return "cross_modality"
    if pretraining.domain != facts.domain:
        return "cross_domain"
    return "in_domain" if _plain(facts.name) in map(_plain, pretraining.datasets) else "cross_scene"


def leakage(pretraining: Pretraining | None, facts: DatasetFacts) -> Leakage:
    """Whether pretraining may have seen the target.

    Returns:
        known (with labels), unlabelled_target (without), possible (same sensor: the scene may be among the
        pretraining data), or none.
    """
    if pretraining is None:
        return "none"
    if _plain(facts.name) in map(_plain, pretraining.datasets):
        return "known" if pretraining.supervised else "unlabelled_target"
    return "possible" if _plain(facts.sensor) in map(_plain, pretraining.sensors) else "none"


def _plain(name: str) -> str:
    """Names compare without case and punctuation: "EnMAP HSI" and "enmap_hsi" are one sensor."""
    return "".join(letter for letter in name.casefold() if letter.isalnum())
