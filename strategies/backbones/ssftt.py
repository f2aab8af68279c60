"""Spectral-spatial feature tokenisation transformer (Sun et al., IEEE TGRS 60, 2022), own code from the paper."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from strategies.backbones.band_inputs import PrincipalComponents
from strategies.backbones.principal_axes import principal_axes
from strategies.backbones.small_transformer import Block

SPECTRAL_CHANNELS = 8
KERNEL = 3


class WhitenedComponents(PrincipalComponents):
    """Principal components of the training spectra, each with a standard deviation of 1 over them."""

    def fit(self, spectra_NC: np.ndarray) -> None:
        """Take mean and scaled axes from spectra `[N, C]`."""
        found = principal_axes(spectra_NC, len(self.axes))
        self.mean.copy_(torch.from_numpy(found.mean_C))
        self.axes.copy_(torch.from_numpy(found.axes_PC * found.scales_to(1.0)[:, None]))


class Tokenizer(nn.Module):
    """A few tokens `[N, T, width]` out of the features of all places `[N, P, width]` (the paper's equation 6).

    Each token is a weighted mean over the places; a softmax of learned scores gives its weights. Both matrices start
    from a Gaussian, hence the paper's name "Gaussian weighted feature tokenizer".
    """

    def __init__(self, width: int, tokens: int) -> None:
        super().__init__()
        self.score = nn.Parameter(torch.empty(tokens, width))
        self.value = nn.Parameter(torch.empty(width, width))
        nn.init.xavier_normal_(self.score)
        nn.init.xavier_normal_(self.value)

    def weights(self, places_NPD: Tensor) -> Tensor:
        """Weights of the places in each token `[N, T, P]`; they add up to 1."""
        return (places_NPD @ self.score.T).transpose(1, 2).softmax(-1)

    def forward(self, places_NPD: Tensor) -> Tensor:
        """The tokens."""
        return self.weights(places_NPD) @ (places_NPD @ self.value)


class SsfttEncoder(nn.Module):
    """Maps windows of components `[N, C, p, p]` to the features `[N, width]` of the class token.

    A 3-D convolution over components and plane, a 2-D one over the plane, tokens, one block of a transformer.
    """

    def __init__(self, num_components: int, *, width: int, tokens: int, heads: int, mlp_width: int, dropout: float):
        super().__init__()
        kernel = min(KERNEL, num_components)
        channels = SPECTRAL_CHANNELS * (num_components - kernel + 1)
        self.spectral = nn.Sequential(
            nn.Conv3d(1, SPECTRAL_CHANNELS, (kernel, KERNEL, KERNEL)), nn.BatchNorm3d(SPECTRAL_CHANNELS), nn.ReLU()
        )
        self.spatial = nn.Sequential(nn.Conv2d(channels, width, KERNEL), nn.BatchNorm2d(width), nn.ReLU())
        self.tokenize = Tokenizer(width, tokens)
        self.class_token = nn.Parameter(torch.zeros(1, 1, width))
        self.positions = nn.Parameter(torch.empty(1, tokens + 1, width))
        nn.init.normal_(self.positions, std=0.02)
        self.dropout = nn.Dropout(dropout)
        self.block = Block(width, heads=heads, mlp_width=mlp_width, dropout=dropout, bias=True)

    def forward(self, x_NCpp: Tensor) -> Tensor:
        """Features of each window."""
        places_NPD = self.spatial(self.spectral(x_NCpp.unsqueeze(1)).flatten(1, 2)).flatten(2).transpose(1, 2)
        tokens_NTD = torch.cat([self.class_token.expand(len(x_NCpp), -1, -1), self.tokenize(places_NPD)], dim=1)
        features: Tensor = self.block(self.dropout(tokens_NTD + self.positions))[:, 0]
        return features
