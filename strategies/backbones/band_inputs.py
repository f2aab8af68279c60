"""What a network is shown of the bands: all of them, principal components, or three bands as a pseudo-RGB picture."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from strategies._rgb import choose_rgb
from strategies.backbones.principal_axes import principal_axes


class PrincipalComponents(nn.Module):
    """Projection on the first components of the training spectra: a buffer, fitted once and never trained."""

    def __init__(self, num_bands: int, components: int) -> None:
        super().__init__()
        self.mean: Tensor
        self.axes: Tensor
        self.register_buffer("mean", torch.zeros(num_bands))
        self.register_buffer("axes", torch.eye(num_bands)[:components].contiguous())

    def fit(self, spectra_NC: np.ndarray) -> None:
        """Take mean and axes from spectra `[N, C]`."""
        found = principal_axes(spectra_NC, len(self.axes))
        self.mean.copy_(torch.from_numpy(found.mean_C))
        self.axes.copy_(torch.from_numpy(found.axes_PC))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Components `[B, P, H, W]`."""
        centred = x_BCHW - self.mean[None, :, None, None]
        return torch.einsum("bchw,pc->bphw", centred, self.axes)


class PerImageComponents(nn.Module):
    """Components of each image by itself, test images included, as HS3-Bench's code does it (compatibility).

    Every image gets axes of its own, so that the same material has another value in the next image.
    """

    def __init__(self, components: int) -> None:
        super().__init__()
        self.components = components

    @torch.no_grad()
    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Components `[B, P, H, W]`."""
        made = []
        for image_CHW in x_BCHW:
            pixels = image_CHW.flatten(1).T.double()
            centred = pixels - pixels.mean(0)
            projected = centred @ _axes(centred, self.components).T
            made.append(projected.T.reshape(self.components, *image_CHW.shape[1:]).to(x_BCHW.dtype))
        return torch.stack(made)


class ChosenBands(nn.Module):
    """A few bands, in the order given."""

    def __init__(self, bands: Sequence[int]) -> None:
        super().__init__()
        self.bands: Tensor
        self.register_buffer("bands", torch.tensor(list(bands)), persistent=False)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Chosen bands `[B, P, H, W]`."""
        return x_BCHW.index_select(1, self.bands)


class ImageNetScale(nn.Module):
    """Brings three bands from their statistics over the training pixels to those of ImageNet's standardised pictures.

    Standardised pictures have a mean of 0 and a spread of 1 in every channel.
    """

    def __init__(self) -> None:
        super().__init__()
        self.mean: Tensor
        self.spread: Tensor
        self.register_buffer("mean", torch.zeros(3))
        self.register_buffer("spread", torch.ones(3))

    def fit(self, bands_NP: Tensor) -> None:
        """Take the statistics of the three bands `[N, 3]`."""
        self.mean.copy_(bands_NP.double().mean(0))
        self.spread.copy_(bands_NP.double().std(0).clamp_min(1e-6))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Scaled bands, same shape."""
        return (x_BCHW - self.mean[None, :, None, None]) / self.spread[None, :, None, None]


class ThreeChannels(nn.Module):
    """Three channels without weights to train, each with the mean and spread of a standardised picture."""

    def __init__(self, choose: ChosenBands | PrincipalComponents) -> None:
        super().__init__()
        self.choose = choose
        self.scale = ImageNetScale()

    @torch.no_grad()
    def fit(self, spectra_NC: np.ndarray) -> None:
        """Take components and statistics from the training spectra."""
        if isinstance(self.choose, PrincipalComponents):
            self.choose.fit(spectra_NC)
        chosen = self.choose(torch.from_numpy(np.ascontiguousarray(spectra_NC, dtype=np.float32))[:, :, None, None])
        self.scale.fit(chosen[:, :, 0, 0])

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Three channels `[B, 3, H, W]`."""
        scaled: Tensor = self.scale(self.choose(x_BCHW))
        return scaled


def make_input(
    kind: str, num_bands: int, wavelengths_nm: Sequence[float] | None, *, components: int, rgb_bands: str
) -> tuple[nn.Module, int]:
    """The input layer of a kind and the number of its channels.

    Args:
        kind: hsi, pca, pca_per_image or pseudo_rgb.
        num_bands: bands of the data set.
        wavelengths_nm: band centres, or None.
        components: number of principal components.
        rgb_bands: three 0-based bands such as "14,7,0"; empty = nearest to red, green and blue.

    Raises:
        StrategyError: bands that are not there, or no wavelengths to choose by.
    """
    if kind == "hsi":
        return nn.Identity(), num_bands
    if kind in ("pca", "pca_per_image"):
        layer = PrincipalComponents(num_bands, components) if kind == "pca" else PerImageComponents(components)
        return layer, components
    return ChosenBands(choose_rgb(num_bands, wavelengths_nm, rgb_bands)), 3


def fit_input(model: nn.Module, spectra_NC: np.ndarray) -> None:
    """Fit what a model's input layer takes from the training spectra, where it takes anything."""
    for module in model.modules():
        if isinstance(module, PrincipalComponents | ThreeChannels):
            module.fit(spectra_NC)


def _axes(centred_NC: Tensor, components: int) -> Tensor:
    """First eigenvectors of the covariance `[P, C]` as in `principal_axes`, on the device where the image is."""
    covariance = centred_NC.T @ centred_NC / max(1, len(centred_NC) - 1)
    axes = torch.linalg.eigh(covariance).eigenvectors.T.flip(0)[:components]
    peak = axes.gather(1, axes.abs().argmax(1, keepdim=True))
    return axes * torch.where(peak < 0, -1.0, 1.0)
