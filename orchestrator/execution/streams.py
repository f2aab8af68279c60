"""Counter-based randomness: every draw is a function of (seed, stream, counter), never of what was drawn before.

A resumed run therefore needs no saved generator state to go on bit by bit as if it had never stopped.
"""

from __future__ import annotations

import hashlib

import numpy as np


def stream_seed(*parts: object) -> int:
    """A 63-bit seed from any printable parts, the same in every process and on every host."""
    digest = hashlib.sha256("\x1f".join(str(p) for p in parts).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


class BatchOrder:
    """Which training samples make up the global batch of each step.

    Samples are visited without replacement, epoch by epoch; each epoch's order is a function of (seed, epoch).
    Ranks take disjoint strides of the global batch.
    """

    def __init__(self, *, num_samples: int, batch_size: int, seed: int) -> None:
        self._num_samples, self._batch_size, self._seed = num_samples, batch_size, seed
        self._epoch, self._order = -1, np.empty(0, dtype=np.int64)

    def _at(self, position: int) -> int:
        epoch, offset = divmod(position, self._num_samples)
        if epoch != self._epoch:
            generator = np.random.default_rng(stream_seed(self._seed, "batch order", epoch))
            self._epoch, self._order = epoch, generator.permutation(self._num_samples)
        return int(self._order[offset])

    def batch(self, step: int, rank: int = 0, world_size: int = 1) -> np.ndarray:
        """Indices of this rank's part of the global batch of `step` (0-based), int64."""
        start = step * self._batch_size
        return np.array([self._at(start + i) for i in range(rank, self._batch_size, world_size)], dtype=np.int64)
