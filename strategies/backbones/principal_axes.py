"""Principal components of training spectra, for every layer that is fitted with them."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

NEGLIGIBLE = 1e-10
"""Share of the largest variance below which a component holds nothing but rounding."""


class PrincipalAxes(NamedTuple):
    """Mean, axes and variances of spectra, float64."""

    mean_C: NDArray[np.float64]
    axes_PC: NDArray[np.float64]
    """Of length 1, the one with the largest variance first. Their sign is arbitrary: the largest weight is positive."""
    variances_P: NDArray[np.float64]
    """Of the population; not negative."""

    def scales_to(self, spread: float) -> NDArray[np.float64]:
        """Factors `[P]` that give every component this standard deviation.

        A component without variance (fewer spectra than components) stays silent instead of amplifying noise.
        """
        floor = NEGLIGIBLE * max(float(self.variances_P.max()), np.finfo(np.float64).tiny)
        spreads = np.sqrt(np.maximum(self.variances_P, floor))
        scales: NDArray[np.float64] = np.where(self.variances_P > floor, spread / spreads, 0.0)
        return scales


def principal_axes(spectra_NC: NDArray[np.floating], components: int) -> PrincipalAxes:
    """The first components of spectra `[N, C]`, from their covariance."""
    spectra = np.asarray(spectra_NC, dtype=np.float64)
    mean_C = spectra.mean(axis=0)
    covariance_CC = np.cov(spectra - mean_C, rowvar=False, bias=True).reshape(len(mean_C), len(mean_C))
    variances, vectors = np.linalg.eigh(covariance_CC)
    axes_PC = vectors[:, ::-1][:, :components].T
    largest = np.abs(axes_PC).argmax(axis=1)
    axes_PC = axes_PC * np.sign(axes_PC[np.arange(len(largest)), largest])[:, None]
    return PrincipalAxes(mean_C, axes_PC, np.maximum(variances[::-1][:components], 0))
