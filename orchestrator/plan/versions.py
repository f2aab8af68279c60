"""Versions of the code that turns a run specification into numbers; raised by hand when numbers change.

They are in every run's key. Kept here, and not beside the code, because planning must not import torch to know them;
tests hold them equal to the modules' own.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

IMPLEMENTATION: Mapping[str, int] = MappingProxyType({"sampler": 1, "training": 1, "metrics": 1})
"""sampler: splits and labelled subsets; training: loop, losses, augmentation, normalisation; metrics: scores."""

STAGES: Mapping[str, Mapping[str, int]] = MappingProxyType({"pretrain": {"pretrain": 1}, "features": {"features": 1}})
"""Versions of the code of shared stages; in the keys of those stages alone."""

SAMPLERS: Mapping[str, int] = MappingProxyType({"whole_images": 1})
"""How often a sampler's own numbers changed, beside `IMPLEMENTATION["sampler"]`: both together are in a key, so that
a change of one sampler leaves the keys of the others alone, and a change of all of them changes every key.

whole_images 1: the prefix of a seeded permutation over sorted names, as HS3-Bench draws it.
"""


def implementation_of(sampler: str) -> dict[str, int]:
    """`IMPLEMENTATION` for runs whose labels this sampler draws."""
    return {**IMPLEMENTATION, "sampler": IMPLEMENTATION["sampler"] + SAMPLERS.get(sampler, 0)}
