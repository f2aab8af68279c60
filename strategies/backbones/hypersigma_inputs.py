"""From the bands of a sensor to the channels that HyperSIGMA takes: 100 samples of the spectrum, or components."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from strategies.backbones.principal_axes import principal_axes

SAMPLES = 100
"""Bands of a patch in pretraining: neighbours in a sensor's order, from a random first one on."""


class Resampled(nn.Module):
    """Spectra as 100 evenly spaced samples between their first and last band, by wavelength where it is known."""

    def __init__(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:
        super().__init__()
        matrix_SC = resampling_matrix(num_bands, wavelengths_nm)
        self.bands_used = int((matrix_SC != 0).any(0).sum())
        self.matrix_SC: Tensor
        # a fact of the data set, not of the weights: kept out of the state dict
        self.register_buffer("matrix_SC", torch.from_numpy(matrix_SC).float(), persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Samples `[B, 100, H, W]`."""
        return torch.einsum("sc,bchw->bshw", self.matrix_SC.to(x_BCHW), x_BCHW)


class WhitenedComponents(nn.Module):
    """Principal components of the training spectra, each with a variance of 1: buffers, fitted once, never trained."""

    def __init__(self, num_bands: int, components: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.axes_PC: Tensor
        self.register_buffer("mean", torch.zeros(num_bands))
        self.register_buffer("axes_PC", torch.eye(num_bands)[:components].contiguous())

    def fit(self, spectra_NC: np.ndarray) -> None:
        """Take mean and axes from spectra `[N, C]`; a component without variance becomes 0."""
        found = principal_axes(spectra_NC, len(self.axes_PC))
        self.mean.copy_(torch.from_numpy(found.mean_C))
        self.axes_PC.copy_(torch.from_numpy(found.axes_PC * found.scales_to(1.0)[:, None]))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Components `[B, P, H, W]`."""
        return torch.einsum("pc,bchw->bphw", self.axes_PC, x_BCHW - self.mean[None, :, None, None])


def resampling_matrix(num_bands: int, wavelengths_nm: Sequence[float] | None) -> np.ndarray:
    """Weights `[100, C]` that turn a spectrum into 100 evenly spaced samples; nothing is extrapolated.

    Up to 100 bands are interpolated linearly. More are averaged with weights that fall off linearly over one sample's
    distance, so that no band is left out.
    """
    places = np.arange(num_bands, dtype=np.float64) if wavelengths_nm is None else np.asarray(wavelengths_nm, float)
    order = np.argsort(places, kind="stable")
    wanted = np.linspace(places.min(), places.max(), SAMPLES)
    # row s: what a spectrum that is 1 in one band gives at sample s
    rows = np.stack([np.interp(wanted, places[order], unit[order]) for unit in np.eye(num_bands)], axis=1)
    if num_bands > SAMPLES:
        step = (wanted[-1] - wanted[0]) / (SAMPLES - 1)
        near = np.clip(1 - np.abs(wanted[:, None] - places[None]) / step, 0, None)
        # in a gap of the sensor there is no band near: interpolated across
        rows = np.where(near.sum(1, keepdims=True) > 0, near, rows)
    result: np.ndarray = rows / rows.sum(1, keepdims=True)
    return result


def pooling_matrix(channels: int) -> np.ndarray:
    """Weights `[100, P]` of adaptive average pooling over channels: each token is the mean of those that it covers."""
    matrix = np.zeros((SAMPLES, channels))
    for token in range(SAMPLES):
        first, last = token * channels // SAMPLES, -(-(token + 1) * channels // SAMPLES)
        matrix[token, first:last] = 1 / (last - first)
    return matrix
