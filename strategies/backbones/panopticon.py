"""Panopticon's encoder on torchgeo's and timm's layers, with feature maps of its blocks; needs the extra `geo`.

Waldmann et al. 2025, arXiv:2503.10845: each band's patches get an embedding of their wavelength, attention merges the
bands of a patch into one token, and DINOv2's vision transformer follows. As DINOv2 gives intermediate layers, each tap
goes through the last normalisation.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import timm
import torch
from torch import Tensor, nn
from torchgeo.models.panopticon import PanopticonPE

from strategies.backbones._positions import as_map, resized_positions

PATCH_PX = 14
TRAINED_GRID = (37, 37)
RGB_NM = (665.0, 560.0, 490.0)
SIZES: dict[str, tuple[int, int, int, int, int, tuple[int, ...]]] = {
    "base": (768, 12, 12, 2304, 16, (3, 5, 7, 11)),
    "reduced": (32, 4, 4, 48, 4, (0, 1, 2, 3)),
}
"""Width, depth and heads; width and heads of the attention among bands; tapped blocks."""


class TappedPanopticon(nn.Module):
    """Maps bands `[B, C, H, W]` (H and W multiples of 14) to one feature map `[B, D, H/14, W/14]` a tapped block."""

    def __init__(self, wavelengths_nm: Sequence[float], size: str) -> None:
        super().__init__()
        width, depth, num_heads, band_width, band_heads, taps = SIZES[size]
        vit: Any = timm.create_model("vit_base_patch14_dinov2", embed_dim=width, depth=depth, num_heads=num_heads)
        self.taps = taps
        self.patch_embed = PanopticonPE(
            attn_dim=band_width,
            embed_dim=width,
            patch_size=PATCH_PX,
            chnfus_cfg={"attn_cfg": {"num_heads": band_heads}},
            img_size=PATCH_PX * TRAINED_GRID[0],
        )
        self.cls_token, self.pos_embed, self.blocks, self.norm = vit.cls_token, vit.pos_embed, vit.blocks, vit.norm
        # whole nanometres, as the model knows channels; a fact of the data set, not of the weights
        centres = torch.tensor([float(round(centre)) for centre in wavelengths_nm])
        self.register_buffer("centres_C", centres, persistent=False)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Feature maps of the tapped blocks, the first block's first."""
        batch, _, height, width = x_BCHW.shape
        grid = (height // PATCH_PX, width // PATCH_PX)
        centres: Tensor = self.centres_C  # type: ignore[assignment]
        # torchgeo floors the channels' wavelengths in place: it gets a copy
        channels_BC = centres.expand(batch, -1).clone()
        tokens = self.patch_embed({"imgs": x_BCHW, "chn_ids": channels_BC})
        tokens = torch.cat([self.cls_token.expand(batch, -1, -1), tokens], dim=1)
        tokens = tokens + resized_positions(self.pos_embed, TRAINED_GRID, grid)
        levels = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            if number in self.taps:
                levels.append(as_map(self.norm(tokens), grid))
        return levels


def make_panopticon(size: str, wavelengths_nm: Sequence[float] = RGB_NM) -> TappedPanopticon:
    """Panopticon of the published size, or `reduced` (no weights), with random weights."""
    return TappedPanopticon(wavelengths_nm, size)


def panopticon_base() -> TappedPanopticon:
    """What the published file fills: the weights are the same for any bands."""
    return make_panopticon("base")
