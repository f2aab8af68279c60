"""Frequency-domain constraint: estimates agree with their targets in rFFT, and in magnitude at high frequencies.

A reconstruction: the abstract of arXiv:2601.18088 names rFFT consistency and a high-frequency magnitude loss, for the
sake of details and boundaries; distances, axes and cutoff are choices of this project.
"""

from __future__ import annotations

import functools
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

Axes = Literal["spatial", "spectral", "both"]
Distance = Literal["l1", "l2", "log", "focal"]
EPSILON = 1e-8
"""Inside of the root: the gradient of a modulus is not defined at 0."""
SMALL_SIDE = 512
"""Up to so many samples a transform is one product with a matrix, which is faster than a library's for a window."""


class Spectrum(NamedTuple):
    """Real and imaginary part of an rFFT, `[N, C0, bins]` of the plane or `[N, bins, P]` of the bands."""

    real: Tensor
    imaginary: Tensor

    def modulus(self) -> Tensor:
        """Modulus, with a gradient everywhere."""
        return (self.squared() + EPSILON).sqrt()

    def squared(self) -> Tensor:
        """Square of the modulus."""
        return self.real.square() + self.imaginary.square()


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

    def spectra(self, x_NKpp: Tensor) -> dict[str, Spectrum]:
        """Orthonormal rFFT of square windows along each axis; in float32, whatever the precision around it."""
        with torch.autocast(x_NKpp.device.type, enabled=False):
            values = x_NKpp.float()
            return {
                axis: _plane_spectrum(values) if axis == "spatial" else _band_spectrum(values) for axis in self.axes
            }

    def forward(self, target: dict[str, Spectrum], difference_NKpp: Tensor) -> FrequencyTerms:
        """Compare an estimate, given as its difference from the target, with the target's `spectra`."""
        consistency = high = difference_NKpp.new_zeros((), dtype=torch.float32)
        bands, side_px = difference_NKpp.shape[1], difference_NKpp.shape[-1]
        for axis, difference in self.spectra(difference_NKpp).items():
            weights, frequencies = _plane_bins(side_px) if axis == "spatial" else _band_bins(bands)
            weights = weights.to(difference.real.device)
            chosen = weights * (frequencies.to(weights) > self.cutoff)
            estimate = Spectrum(target[axis].real + difference.real, target[axis].imaginary + difference.imaginary)
            magnitude, known = estimate.modulus(), target[axis].modulus()
            consistency = consistency + _mean(self._distance(difference, magnitude, known), weights)
            share = self.spectral_high_share if axis == "spectral" else 1.0
            high = high + share * _mean((magnitude - known).abs(), chosen)
        return FrequencyTerms(consistency, high)

    def _distance(self, difference: Spectrum, magnitude: Tensor, known: Tensor) -> Tensor:
        if self.distance == "l1":
            return difference.modulus()
        if self.distance == "log":
            return (torch.log1p(magnitude) - torch.log1p(known)).abs()
        squared = difference.squared()
        if self.distance == "l2":
            return squared
        apart = squared.detach().sqrt()
        return squared * apart / apart.amax().clamp_min(EPSILON)


def half_spectrum_weights(side: int) -> Tensor:
    """How many bins of the whole spectrum of `side` real samples each bin of rFFT stands for; they sum to `side`."""
    weights = torch.full((side // 2 + 1,), 2.0)
    weights[0] = 1
    if side % 2 == 0:
        weights[-1] = 1
    return weights


def _plane_spectrum(values_NKpp: Tensor) -> Spectrum:
    side = values_NKpp.shape[-1]
    if side**2 > SMALL_SIDE:
        found = torch.fft.rfft2(values_NKpp, norm="ortho").flatten(2)
        return Spectrum(found.real, found.imag)
    parts = values_NKpp.flatten(2) @ _plane_matrix(side).to(values_NKpp)
    return Spectrum(*parts.chunk(2, dim=-1))


def _band_spectrum(values_NKpp: Tensor) -> Spectrum:
    bands = values_NKpp.shape[1]
    if bands > SMALL_SIDE:
        found = torch.fft.rfft(values_NKpp.flatten(2), dim=1, norm="ortho")
        return Spectrum(found.real, found.imag)
    parts = torch.matmul(_band_matrix(bands).to(values_NKpp), values_NKpp.flatten(2))
    return Spectrum(*parts.chunk(2, dim=1))


@functools.cache
def _plane_matrix(side: int) -> Tensor:
    """From the pixels of a window to the real and imaginary parts of its rFFT, `[side ** 2, 2 bins]`."""
    pixels = torch.eye(side * side, dtype=torch.float64).view(-1, side, side)
    found = torch.fft.rfft2(pixels, norm="ortho").flatten(1)
    return torch.cat([found.real, found.imag], dim=1).float()


@functools.cache
def _band_matrix(bands: int) -> Tensor:
    """From the bands of a pixel to the real and imaginary parts of their rFFT, `[2 bins, bands]`."""
    found = torch.fft.rfft(torch.eye(bands, dtype=torch.float64), norm="ortho")
    return torch.cat([found.real, found.imag], dim=1).T.contiguous().float()


@functools.cache
def _plane_bins(side: int) -> tuple[Tensor, Tensor]:
    """Weight and radial frequency in cycles a pixel of each bin of the plane, `[bins]`."""
    columns, rows = torch.fft.rfftfreq(side), torch.fft.fftfreq(side)
    return half_spectrum_weights(side).repeat(side), torch.hypot(rows[:, None], columns[None]).flatten()


@functools.cache
def _band_bins(bands: int) -> tuple[Tensor, Tensor]:
    """Weight and frequency in cycles a band of each bin along the bands, `[bins, 1]`."""
    return half_spectrum_weights(bands)[:, None], torch.fft.rfftfreq(bands)[:, None]


def _mean(values: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean over all bins; 0 where no bin has weight."""
    return (values * weights).sum() / (weights.sum() * (values.numel() / weights.numel())).clamp_min(EPSILON)
