"""Named random streams: the same names give the same numbers in every process and on every machine."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def stream(*names: str | int) -> np.random.Generator:
    """A generator whose seed is the SHA-256 of the names; Python's salted `hash` is never involved."""
    text = "\x1f".join(f"{type(name).__name__}:{name}" for name in names)
    return np.random.default_rng(int.from_bytes(hashlib.sha256(text.encode()).digest(), "big"))


def shuffled(count: int, generator: np.random.Generator) -> NDArray[np.int64]:
    """A permutation of `range(count)`.

    Sorting uniform numbers instead of calling `permutation`: NumPy promises the bits of a generator, but not
    the algorithm behind its methods, from one version to the next.
    """
    return np.argsort(generator.random(count), kind="stable")
