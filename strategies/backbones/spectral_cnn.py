"""A 1-D convolutional network over the bands of single spectra."""

from __future__ import annotations

import torch
from torch import Tensor, nn

STAGES = 3


class SpectralCNNModel(nn.Module):
    """Maps spectra `[N, C]` to features `[N, features]`.

    Three stages of convolution, normalisation over the pixel's own activations, GELU and pooling of two bands into
    one; then a fully connected layer, which knows where in the spectrum a feature was found.
    """

    def __init__(self, band_order: list[int], *, width: int, features: int, kernel_size: int) -> None:
        """Make a model that reads the bands in `band_order` (indices into the cube's bands)."""
        super().__init__()
        # a fact of the data set, not of the weights: kept out of the state dict
        self.register_buffer("band_order", torch.tensor(band_order), persistent=False)
        layers: list[nn.Module] = []
        channels, length = 1, len(band_order)
        for stage in range(STAGES):
            wider = width * 2 ** min(stage, 1)
            layers += [
                nn.Conv1d(channels, wider, kernel_size, padding=kernel_size // 2),
                nn.GroupNorm(1, wider),
                nn.GELU(),
            ]
            layers.append(nn.MaxPool1d(2, ceil_mode=True))
            channels, length = wider, -(-length // 2)
        self.convolve = nn.Sequential(*layers)
        self.connect = nn.Sequential(
            nn.Flatten(), nn.Linear(channels * length, features), nn.LayerNorm(features), nn.GELU()
        )

    def forward(self, spectra_NC: Tensor) -> Tensor:
        """Features of each spectrum."""
        order: Tensor = self.band_order  # type: ignore[assignment]
        features: Tensor = self.connect(self.convolve(spectra_NC.index_select(1, order).unsqueeze(1)))
        return features
