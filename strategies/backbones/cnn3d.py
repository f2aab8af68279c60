"""A 3-D convolutional network of windows (Hamida et al., IEEE TGRS 56(8), 2018), own code from the paper."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional

CHANNELS = (20, 35)
SMALLEST_SIDE_PX = 3


class Cnn3d(nn.Module):
    """Maps windows `[N, C, p, p]` to features `[N, F]`.

    Two 3x3x3 convolutions, each followed by one along the bands that halves them, so that pooling is learned; two
    convolutions along the bands come last. Windows of 3 pixels are padded in the plane of the first convolution. There
    is no normalisation layer, as in the paper.
    """

    def __init__(self, num_bands: int, side_px: int) -> None:
        super().__init__()
        first, second = CHANNELS
        plane = 1 if side_px == SMALLEST_SIDE_PX else 0
        self.layers = nn.ModuleList(
            [
                nn.Conv3d(1, first, (3, 3, 3), padding=(1, plane, plane)),
                nn.Conv3d(first, first, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(first, second, (3, 3, 3), padding=(1, 0, 0)),
                nn.Conv3d(second, second, (3, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(second, second, (3, 1, 1), padding=(1, 0, 0)),
                nn.Conv3d(second, second, (2, 1, 1), stride=(2, 1, 1), padding=(1, 0, 0)),
            ]
        )
        for layer in self.layers:
            nn.init.kaiming_normal_(layer.weight, nonlinearity="relu")  # type: ignore[arg-type]
            nn.init.zeros_(layer.bias)  # type: ignore[arg-type]
        with torch.no_grad():
            self.num_features = self(torch.zeros(1, num_bands, side_px, side_px)).shape[1]

    def forward(self, x_NCpp: Tensor) -> Tensor:
        """Features of each window."""
        x_NDCpp = x_NCpp.unsqueeze(1)
        for position, layer in enumerate(self.layers):
            x_NDCpp = layer(x_NDCpp)
            # the convolutions that stand for pooling have no activation of their own
            if position not in (1, 3):
                x_NDCpp = functional.relu(x_NDCpp)
        return x_NDCpp.flatten(1)
