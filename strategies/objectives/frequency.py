"""Frequency-domain constraint: estimates agree with their targets in rFFT, and in magnitude at high frequencies.

A reconstruction: the abstract of arXiv:2601.18088 names rFFT consistency and a high-frequency magnitude loss, for the
sake of details and boundaries; distances, axes and cutoff are choices of this project.
"""

from __future__ import annotations

from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Axes = Literal["spatial", "spectral", "both"]
Distance = Literal["l1", "l2", "log", "focal"]
EPSILON = 1e-8
"""Inside of the root: the gradient of a modulus is not defined at 0."""


class FrequencyTerms(NamedTuple):
    """Both terms, summed over the axes."""

    consistency: Tensor
    high_magnitude: Tensor


class FrequencyConstraint(nn.Module):
    """Means over the whole spectrum, of which rFFT gives one half: bins that stand for two count twice.

    With the squared modulus and orthonormal transforms the consistency would be the mean squared error of the pixels
    (Parseval), so that the constraint would add nothing; `l2` is there to show it. `l1` is the modulus of the
    difference, `log` the difference of log(1 + modulus), `focal` the squared modulus weighted by the modulus as a share
    of the largest one (the idea of arXiv:2012.12821).
    """

    def __init__(
        self,
        *,
        axes: Axes = "both",
        cutoff: float = 0.25,
        distance: Distance = "l1",
        spectral_high_share: float = 1.0,
    ) -> None:
        """Make a constraint.

        Args:
            axes: spatial (the plane of the window), spectral (along the bands) or both.
            cutoff: frequency in cycles a sample above which the magnitude is compared.
            distance: see the class.
            spectral_high_share: factor on the spectral axis' high frequencies, which are mostly noise of the sensor.
        """
        super().__init__()
        self.axes: tuple[str, ...] = ("spatial", "spectral") if axes == "both" else (axes,)
        self.cutoff, self.distance, self.spectral_high_share = cutoff, distance, spectral_high_share

    def spectra(self, x_NKpp: Tensor) -> dict[str, Tensor]:
        """Orthonormal rFFT of windows along each axis; in float32."""
        values = x_NKpp.float()
        found = {}
        if "spatial" in self.axes:
            found["spatial"] = torch.fft.rfft2(values, norm="ortho")
        if "spectral" in self.axes:
            found["spectral"] = torch.fft.rfft(values, dim=1, norm="ortho").movedim(1, -1)
        return found

    def forward(self, target: dict[str, Tensor], difference_NKpp: Tensor) -> FrequencyTerms:
        """Compare an estimate, given as its difference from the target, with the target's `spectra`."""
        consistency = high = difference_NKpp.new_zeros((), dtype=torch.float32)
        sides = {"spatial": difference_NKpp.shape[-1], "spectral": difference_NKpp.shape[1]}
        for axis, difference in self.spectra(difference_NKpp).items():
            weights = half_spectrum_weights(sides[axis], difference.device)
            chosen = weights * (_frequencies(axis, sides[axis], difference.device) > self.cutoff)
            magnitude = modulus(target[axis] + difference)
            known = modulus(target[axis])
            consistency = consistency + _mean(self._distance(difference, magnitude, known), weights)
            share = self.spectral_high_share if axis == "spectral" else 1.0
            high = high + share * _mean((magnitude - known).abs(), chosen)
        return FrequencyTerms(consistency, high)

    def _distance(self, difference: Tensor, magnitude: Tensor, known: Tensor) -> Tensor:
        if self.distance == "l1":
            return modulus(difference)
        if self.distance == "log":
            return (torch.log1p(magnitude) - torch.log1p(known)).abs()
        squared = difference.real.square() + difference.imag.square()
        if self.distance == "l2":
            return squared
        apart = squared.detach().sqrt()
        return squared * apart / apart.amax().clamp_min(EPSILON)


def half_spectrum_weights(side: int, device: torch.device) -> Tensor:
    """How many bins of the whole spectrum of `side` real samples each bin of rFFT stands for; they sum to `side`."""
    weights = torch.full((side // 2 + 1,), 2.0, device=device)
    weights[0] = 1
    if side % 2 == 0:
        weights[-1] = 1
    return weights


def _frequencies(axis: str, side: int, device: torch.device) -> Tensor:
    """Frequency of each bin in cycles a sample, radial in the plane."""
    along = torch.fft.rfftfreq(side, device=device)
    return along if axis == "spectral" else torch.hypot(torch.fft.fftfreq(side, device=device)[:, None], along[None])


def modulus(x: Tensor) -> Tensor:
    """Modulus of complex numbers, with a gradient everywhere."""
    return (x.real.square() + x.imag.square() + EPSILON).sqrt()


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over all bins; 0 where no bin has weight."""
    weights = weights.expand(values.shape[-2:])
    return (values * weights).sum() / (weights.sum() * (values.numel() / weights.numel())).clamp_min(EPSILON)
