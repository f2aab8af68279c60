"""Copernicus-FM's encoder on torchgeo's layers, with feature maps of its blocks; needs the extra `geo`.

Wang et al. 2025, arXiv:2503.11849. Torchgeo's class gives one pooled vector, takes square images only and asks for the
bands at every call; here the bands are given once. Place, time and area are unknown, for which the model has learned
embeddings. Taps are the outputs of blocks without a last normalisation: the published encoder has none.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional
from torchgeo.models import CopernicusFM

from strategies.backbones._positions import as_map, resized_positions, sincos_positions

PATCH_PX = 16
TRAINED_GRID = (14, 14)
RGB_NM, RGB_WIDTH_NM = (665.0, 560.0, 490.0), (30.0, 35.0, 65.0)
SIZES: dict[str, tuple[int, int, int, tuple[int, ...]]] = {
    "base": (768, 12, 12, (3, 5, 7, 11)),
    "reduced": (32, 4, 4, (0, 1, 2, 3)),
}
"""Width, depth, heads and tapped blocks."""


class TappedCopernicusFM(CopernicusFM):
    """Maps bands `[B, C, H, W]` (H and W multiples of 16) to one feature map `[B, D, H/16, W/16]` a tapped block."""

    def __init__(
        self,
        wavelengths_nm: Sequence[float],
        bandwidths_nm: Sequence[float],
        *,
        width: int,
        depth: int,
        num_heads: int,
        taps: Sequence[int],
    ) -> None:
        super().__init__(embed_dim=width, depth=depth, num_heads=num_heads, num_classes=0)
        self.taps = tuple(taps)
        # only for named atmospheric variables and for pooled features: nothing here would ever train them
        del self.patch_embed_variable, self.fc_norm
        self.pos_embed.data = sincos_positions(TRAINED_GRID, width)
        embed = self.patch_embed_spectral
        with torch.device("cpu"):  # the codes look at values, which a model of shapes alone does not have
            centres = embed.spectrum_central_expansion(torch.tensor(list(wavelengths_nm)), embed.hyper_dim)
            widths = embed.spectrum_bandwidth_expansion(torch.tensor(list(bandwidths_nm)), embed.hyper_dim)
        # facts of the data set, not of the weights: kept out of the state dict
        self.register_buffer("codes_CF", centres + widths, persistent=False)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Feature maps of the tapped blocks, the first block's first."""
        patches_BDhw = self._patches(x_BCHW)
        grid = (patches_BDhw.shape[-2], patches_BDhw.shape[-1])
        tokens = patches_BDhw.flatten(2).transpose(1, 2)
        tokens = torch.cat([self.cls_token.expand(tokens.shape[0], -1, -1), tokens], dim=1)
        unknown = self.coord_fc(self.coord_token) + self.scale_fc(self.scale_token) + self.time_fc(self.time_token)
        tokens = tokens + resized_positions(self.pos_embed, TRAINED_GRID, grid) + unknown
        levels = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.taps:
                levels.append(as_map(tokens, grid))
        return levels

    def _patches(self, x_BCHW: Tensor) -> Tensor:
        embed = self.patch_embed_spectral
        codes: Tensor = self.codes_CF
        kernels_CK, bias_D = embed.weight_generator(embed.fclayer(codes))
        kernels = kernels_CK.view(-1, PATCH_PX, PATCH_PX, embed.embed_dim).permute(3, 0, 1, 2)
        return functional.conv2d(x_BCHW, kernels * embed.scaler, bias_D * embed.scaler, stride=PATCH_PX, padding=1)


def make_copernicus_fm(
    size: str, wavelengths_nm: Sequence[float] = RGB_NM, bandwidths_nm: Sequence[float] = RGB_WIDTH_NM
) -> TappedCopernicusFM:
    """Copernicus-FM of the published size, or `reduced` (no weights), with random weights."""
    width, depth, num_heads, taps = SIZES[size]
    return TappedCopernicusFM(wavelengths_nm, bandwidths_nm, width=width, depth=depth, num_heads=num_heads, taps=taps)


def copernicus_fm_base() -> TappedCopernicusFM:
    """What the published file fills: the weights are the same for any bands."""
    return make_copernicus_fm("base")
