"""A frozen vision transformer run in four stages, and the model that lets an adapter talk to it between them."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor

from strategies._checks import StrategyError
from strategies._dense_heads import PaddedModel
from strategies.backbones.hsi_adapter import STAGES, Adapter, GatedAttention, Interaction, place_codes
from strategies.backbones.timm_backbones import TimmLevels
from strategies.heads import resize


class StagedTransformer(TimmLevels):
    """A plain vision transformer of timm whose blocks run a quarter at a time.

    Raises:
        StrategyError: the model is another kind of network.
    """

    def __init__(self, name: str) -> None:
        super().__init__(name)
        if type(self.model) is not VisionTransformer or len(self.model.blocks) < STAGES:
            raise StrategyError(
                f"model {name!r} is a {type(self.model).__name__}, and an adapter needs timm's plain "
                f"VisionTransformer with {STAGES} blocks or more; allowed: such as "
                "vit_base_patch14_reg4_dinov2.lvd142m, vit_base_patch16_224.augreg_in21k; set model"
            )

    def patches(self, picture_B3HW: Tensor) -> Tensor:
        """The embedded patches `[B, h, w, D]`, without positions."""
        embedded: Tensor = self.model.patch_embed(picture_B3HW * self.gain + self.offset)
        return embedded

    def begin(self, patches_BhwD: Tensor) -> Tensor:
        """Tokens `[B, prefix + h * w, D]` before the first block."""
        tokens: Tensor = self.model.norm_pre(self.model.patch_drop(self.model._pos_embed(patches_BhwD)))
        return tokens

    def run(self, tokens: Tensor, stage: int) -> Tensor:
        """Tokens after a quarter of the blocks: those between two of the levels that the model gives."""
        first = self.taken[stage - 1] + 1 if stage else 0
        for block in self.model.blocks[first : self.taken[stage] + 1]:
            tokens = block(tokens)
        return tokens

    def as_map(self, tokens: Tensor, grid: tuple[int, int]) -> Tensor:
        """Normalised features of the patches `[B, D, h, w]`."""
        normal: Tensor = self.model.norm(tokens)[:, self.model.num_prefix_tokens :]
        return _map(normal, grid)


class AdapterModel(PaddedModel):
    """Stem: the adapter, which trains. Backbone: the transformer, which does not. They interact four times."""

    stem: Adapter
    backbone: StagedTransformer

    def maps(self, x_BCHW: Tensor) -> list[Tensor]:
        """Four maps at 1/4, 1/8, 1/16 and 1/32 of the input."""
        adapter, transformer = self.stem, self.backbone
        quarter, *coarser = adapter.prior(x_BCHW)
        patches = transformer.patches(adapter.picture(x_BCHW))
        grid = (patches.shape[1], patches.shape[2])
        tokens = transformer.begin(patches + resize(adapter.into_patches(coarser[1]), grid).permute(0, 2, 3, 1))
        sizes = [(level.shape[-2], level.shape[-1]) for level in coarser]
        spectra = torch.cat(
            [level.flatten(2).transpose(1, 2) + scale for level, scale in zip(coarser, adapter.scales, strict=True)],
            dim=1,
        )
        width = spectra.shape[-1]
        of_tokens = place_codes(grid, width, spectra)
        of_spectra = torch.cat([place_codes(size, width, spectra) for size in sizes], dim=1)
        prefix, taps = transformer.model.num_prefix_tokens, []
        for stage, interaction in enumerate(adapter.interactions):
            assert isinstance(interaction, Interaction)
            seen = _ask(interaction.inject, tokens[:, prefix:], spectra, of_tokens, of_spectra)
            tokens = transformer.run(torch.cat([tokens[:, :prefix], seen], dim=1), stage)
            spectra = _ask(interaction.extract, spectra, tokens[:, prefix:], of_spectra, of_tokens)
            spectra = spectra + interaction.mix(spectra)
            taps.append(transformer.as_map(tokens, grid))
        parts = torch.split(spectra, [height * width_px for height, width_px in sizes], dim=1)
        levels = [_map(part, size) for part, size in zip(parts, sizes, strict=True)]
        finest = quarter + resize(levels[0], (quarter.shape[-2], quarter.shape[-1]))
        return adapter.fused([finest, *levels], taps)


def _ask(attention: GatedAttention, asking: Tensor, asked: Tensor, *places: Tensor) -> Tensor:
    found: Tensor = attention(asking, asked, (places[0], places[1]))
    return found


def _map(tokens_BND: Tensor, grid: tuple[int, int]) -> Tensor:
    return tokens_BND.transpose(1, 2).reshape(len(tokens_BND), -1, *grid)
