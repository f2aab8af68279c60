"""What a network that knows pictures is shown of many bands: three channels, or its first convolution widened."""

from __future__ import annotations

import copy
from collections.abc import Sequence

import numpy as np
import torch
from torch import nn

from strategies._responses import cyclic_responses, rgb_responses, sees_colours
from strategies._rgb import choose_rgb
from strategies.backbones.band_inputs import ChosenBands, PrincipalComponents, ThreeChannels
from strategies.backbones.efficientnet import INPUT_STD, BandProjection

INFLATING = ("inflation", "wavelength_inflation")


class ColourProjection(BandProjection):
    """A learned 1x1 convolution that starts as the sensor's red, green and blue, each standardised.

    It starts from principal components where the wavelengths are unknown or a colour is not among the bands.
    """

    def __init__(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:
        super().__init__(num_bands)
        colours = rgb_responses(wavelengths_nm, wanted_by="projection") if sees_colours(wavelengths_nm) else None
        self.colours_3C = None if colours is None else np.array(colours)

    @torch.no_grad()
    def fit(self, spectra_NC: np.ndarray) -> None:
        """Set weights and bias so that each channel has mean 0 and spread 1 over the training spectra."""
        super().fit(spectra_NC)
        self.weight.div_(INPUT_STD)
        if self.bias is not None:
            self.bias.div_(INPUT_STD)
        if self.colours_3C is None:
            return
        seen_N3 = np.asarray(spectra_NC, dtype=np.float64) @ self.colours_3C.T
        spread_3 = seen_N3.std(0)
        scale_3 = np.where(spread_3 > 1e-6, 1 / np.maximum(spread_3, 1e-6), 0.0)
        weights = torch.from_numpy(self.colours_3C * scale_3[:, None])
        self.weight.copy_(weights.to(self.weight.dtype)[:, :, None, None])
        if self.bias is not None:
            self.bias.copy_(torch.from_numpy(-seen_N3.mean(0) * scale_3).to(self.bias.dtype))


def make_stem(kind: str, num_bands: int, wavelengths_nm: Sequence[float] | None, *, rgb_bands: str) -> nn.Module:
    """The layer of a kind that makes three channels; for inflation a place that `inflated` fills.

    Raises:
        StrategyError: bands that are not there, or no wavelengths to choose by.
    """
    if kind == "pseudo_rgb":
        return ThreeChannels(ChosenBands(choose_rgb(num_bands, wavelengths_nm, rgb_bands)))
    if kind == "pca3":
        return ThreeChannels(PrincipalComponents(num_bands, 3))
    if kind == "projection":
        return ColourProjection(num_bands, wavelengths_nm)
    return nn.Identity()


def inflated(kind: str, convolution: nn.Conv2d, num_bands: int, wavelengths_nm: Sequence[float] | None) -> nn.Conv2d:
    """A first convolution for all bands: each band's kernel is the colours' kernels, weighted by its responses.

    inflation: as timm does it, colours in turn. wavelength_inflation: by the band's wavelength.

    Raises:
        StrategyError: wavelengths are needed and unknown, or show no colours.
    """
    responses = (
        cyclic_responses(num_bands) if kind == "inflation" else rgb_responses(wavelengths_nm, wanted_by=f"input {kind}")
    )
    # a copy keeps what timm's own classes of convolution know, such as their padding
    wide = copy.deepcopy(convolution)
    wide.in_channels = num_bands
    with torch.no_grad():
        colours_3C = torch.tensor(responses, dtype=convolution.weight.dtype, device=convolution.weight.device)
        wide.weight = nn.Parameter(torch.einsum("dkhw,kc->dchw", convolution.weight, colours_3C))
    return wide


def fit_stem(model: nn.Module, spectra_NC: np.ndarray) -> None:
    """Fit what a model's input layer takes from the training spectra, where it takes anything."""
    for module in model.modules():
        if isinstance(module, ThreeChannels | ColourProjection):
            module.fit(spectra_NC)
