"""SpectralEarth's SpecViT: convolutions over the spectrum, then a vision transformer on 4 x 4 pixels.

Braham et al. 2024 (arXiv:2408.08447). Our own code around timm's vision transformer, with the published files'
parameter names. The model knows no wavelengths: a band's place in the list is all it sees, so other sensors are
brought to the grid of its pretraining (`enmap_grid`).
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from strategies.backbones.enmap_grid import interpolation_weights

PATCH_PX, IMAGE_PX = 4, 128
SIZES = {"small": (384, 12, 6, 128), "base": (768, 12, 12, 128), "reduced": (32, 2, 4, 32)}
"""Width, layers, heads, and channels that the spectrum becomes."""
CONVOLUTIONS = ((7, 5), (7, 5), (5, 3))
"""Bands and stride of the three convolutions over the spectrum, each padded by one band at either end."""


class SpectralAdapter(nn.Sequential):
    """Three convolutions over the spectrum and a mean over what is left of it: `[B, C, H, W]` to `[B, channels, H, W]`.

    Convolution, BatchNorm and ReLU stand in one row, as the published keys count them.
    """

    def __init__(self, channels: int = 128) -> None:
        widths, layers = (1, channels // 4, channels // 2, channels), list[nn.Module]()
        for (bands, stride), ins, outs in zip(CONVOLUTIONS, widths, widths[1:], strict=False):
            layers += [
                nn.Conv3d(ins, outs, (bands, 1, 1), stride=(stride, 1, 1), padding=(1, 0, 0)),
                nn.BatchNorm3d(outs),
                nn.ReLU(),
            ]
        super().__init__(*layers)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Channels for the transformer."""
        maps: Tensor = super().forward(x_BCHW.unsqueeze(1))  # type: ignore[no-untyped-call]
        return maps.mean(dim=2)


class GridResampler(nn.Module):
    """Interpolates a sensor's bands linearly onto the covered part of the pretraining's grid; has no parameters."""

    def __init__(self, wavelengths_nm: Sequence[float]) -> None:
        super().__init__()
        rows = interpolation_weights(wavelengths_nm)
        weights_SC = torch.zeros(len(rows), len(wavelengths_nm))
        for sample, row in enumerate(rows):
            for band, weight in row.items():
                weights_SC[sample, band] = weight
        self.register_buffer("weights_SC", weights_SC, persistent=False)
        self.bands_used = len({band for row in rows for band in row})
        """Bands of the sensor that any sample is made of."""
        self.samples = len(rows)

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Samples of the grid, `[B, S, H, W]`."""
        return torch.einsum("sc,bchw->bshw", self.weights_SC.to(x_BCHW.dtype), x_BCHW)


class SpecViT(VisionTransformer):
    """timm's vision transformer as the adapter's channels need it; gives the last layer's map, after its LayerNorm."""

    def __init__(self, size: str) -> None:
        width, depth, num_heads, channels = SIZES[size]
        super().__init__(
            img_size=IMAGE_PX,
            patch_size=PATCH_PX,
            in_chans=channels,
            embed_dim=width,
            depth=depth,
            num_heads=num_heads,
            qkv_bias=True,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            num_classes=0,
            dynamic_img_size=True,
        )

    def forward(self, x: Tensor) -> list[Tensor]:  # type: ignore[override]
        """One level of stride 4, `[B, width, h, w]`."""
        levels: list[Tensor] = self.forward_intermediates(x, indices=1, norm=True, intermediates_only=True)  # type: ignore[assignment]
        return levels


def published_whole(adapter: SpectralAdapter, transformer: SpecViT) -> nn.Module:
    """What a published file fills: both parts under the published names."""
    return nn.ModuleDict({"spectral_adapter": adapter, "vit_core": transformer})


def spec_vit_small() -> nn.Module:
    """What the published files of size S fill."""
    return published_whole(SpectralAdapter(), SpecViT("small"))


def spec_vit_base() -> nn.Module:
    """What the published files of size B fill."""
    return published_whole(SpectralAdapter(), SpecViT("base"))
