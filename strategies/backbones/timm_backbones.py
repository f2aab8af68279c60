"""Vision models of timm as feature maps of one or several levels, under timm's own names."""

from __future__ import annotations

import difflib
import functools
import re
from collections.abc import Callable
from typing import Any

import timm
import torch
from torch import Tensor, nn

from strategies._checks import StrategyError

IMAGENET_MEAN, IMAGENET_STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TAPS = 4
"""Levels taken of a plain vision transformer, evenly over its blocks, the last one among them."""
FINEST_STRIDE = 4
"""Levels of convolutional networks that are finer are not used."""
REDUCED = "reduced"
"""Name of a tiny vision transformer without weights, for tests."""
_STAGE = re.compile(r"(?:(?:stages|blocks|layers|features)[._]\d+|layer\d+)(?=\.)")


class TimmLevels(nn.Module):
    """A timm model that gives feature maps; `model` has timm's names, without the layers that no map needs.

    Its input is standardised as ImageNet's pictures; what the model's own pretraining wanted is made of that inside.
    """

    def __init__(self, name: str) -> None:
        """Make the model with random weights.

        Raises:
            StrategyError: timm does not know the name, or the model gives no feature maps.
        """
        super().__init__()
        self.name = name
        self.model = timm_model(name)
        levels = [(int(level["num_chs"]), int(level["reduction"])) for level in self.model.feature_info]
        self.is_plain = len({stride for _, stride in levels}) == 1
        depth = len(levels)
        taken = (
            [(tap + 1) * depth // TAPS - 1 for tap in range(TAPS)]
            if self.is_plain
            else [index for index, (_, stride) in enumerate(levels) if stride >= FINEST_STRIDE]
        )
        # plain transformers: every tap goes through the final normalisation, as DINOv2's dense tasks do it
        self.model.prune_intermediate_layers(taken, prune_norm=not self.is_plain, prune_head=True)
        self.taken = tuple(taken)
        self.channels = tuple(levels[index][0] for index in taken)
        self.strides = tuple(levels[index][1] for index in taken)
        self.has_batch_norm = any(isinstance(module, nn.BatchNorm2d) for module in self.model.modules())
        self.gain: Tensor
        self.offset: Tensor
        own_mean, own_std = (torch.tensor(self.model.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
        mean, std = (torch.tensor(values).view(3, 1, 1) for values in (IMAGENET_MEAN, IMAGENET_STD))
        self.register_buffer("gain", std / own_std, persistent=False)
        self.register_buffer("offset", (mean - own_mean) / own_std, persistent=False)
        self.has_first_convolution = True
        self._coarsest = max(self.strides)

    def forward(self, x_BCHW: Tensor) -> list[Tensor]:
        """Maps of the levels in `channels` and `strides`, the finest first.

        Raises:
            StrategyError: a training batch too small for BatchNorm, or a model that gives other maps than it says.
        """
        if self.has_first_convolution:
            x_BCHW = x_BCHW * self.gain + self.offset
        self._check_batch(x_BCHW)
        maps: list[Tensor] = self.model.forward_intermediates(
            x_BCHW, indices=list(self.taken), norm=self.is_plain, stop_early=True, intermediates_only=True
        )
        if tuple(level.shape[1] for level in maps) != self.channels:
            raise StrategyError(
                f"model {self.name!r} gives maps of {[level.shape[1] for level in maps]} channels instead of "
                f"{list(self.channels)}; allowed: plain vision transformers and convolutional networks; set model"
            )
        return maps

    def take_first_convolution(self) -> nn.Conv2d:
        """The convolution that sees the channels; the model goes on with what that gives.

        Raises:
            StrategyError: the first layer is none.
        """
        path = self.model.pretrained_cfg.get("first_conv")
        first = self.model.get_submodule(path) if isinstance(path, str) else None
        if not isinstance(first, nn.Conv2d):
            raise StrategyError(
                f"model {self.name!r} does not start with one convolution; allowed: input pseudo_rgb, pca3 or "
                "projection; set input"
            )
        owner, _, attribute = path.rpartition(".")
        setattr(self.model.get_submodule(owner), attribute, nn.Identity())
        if self.is_plain:
            # the grid of tokens is what arrives now
            self.model.patch_embed.patch_size = (1, 1)
        self.has_first_convolution = False
        self._coarsest = max(1, self._coarsest // first.stride[0])
        return first

    def stages(self) -> tuple[str, ...]:
        """Prefixes of the names of blocks (of a transformer) or stages, the nearest to the input first."""
        found = (_STAGE.match(name) for name, _ in self.model.named_parameters())
        return tuple(dict.fromkeys(f"model.{match.group()}" for match in found if match))

    def _check_batch(self, x_BCHW: Tensor) -> None:
        values = x_BCHW.shape[0]
        for size in x_BCHW.shape[-2:]:
            values *= -(-size // self._coarsest)
        if self.training and self.has_batch_norm and values < 2:
            raise StrategyError(
                f"one patch a worker that is not larger than {max(self.strides)} pixels is too little to train the "
                f"BatchNorm of {self.name!r}; allowed: 2 patches a worker or larger ones; raise train.batch_size or "
                "train.patch_size"
            )


def timm_model(name: str) -> Any:
    """A timm model of random weights, without classifier, for images of any size where the model has that.

    Raises:
        StrategyError: timm does not know the name, or the model gives no feature maps.
    """
    if name == REDUCED:
        small: dict[str, Any] = {"patch_size": 8, "embed_dim": 32, "depth": 4, "num_heads": 2, "img_size": 64}
        return timm.create_model("vit_tiny_patch16_224", num_classes=0, dynamic_img_size=True, **small)
    if not timm.is_model(name):
        near = difflib.get_close_matches(name.split(".")[0], timm.list_models(), n=3, cutoff=0.5)
        raise StrategyError(f"timm has no model {name!r}; the nearest are: {', '.join(near) or 'none'}; set model")
    made: Any = None
    # a plain transformer takes any size with the first, a Swin with the second; a convolutional network has neither
    choices: tuple[dict[str, Any], ...] = ({"dynamic_img_size": True}, {"strict_img_size": False}, {})
    for words in choices:
        try:
            made = timm.create_model(name, pretrained=False, num_classes=0, **words)
            break
        except TypeError:
            continue
        except RuntimeError as error:
            raise StrategyError(f"timm cannot make {name!r}: {error}; set another model") from error
    if not all(hasattr(made, wanted) for wanted in ("forward_intermediates", "prune_intermediate_layers")):
        raise StrategyError(f"timm's {name!r} gives no feature maps (forward_intermediates); set another model")
    return made


@functools.cache
def check_any_size(name: str) -> None:
    """Try a model of timm on an image of an odd size; on torch's meta device, so that it costs a moment only.

    Raises:
        StrategyError: see `TimmLevels`, or the model takes images of one size only.
    """
    with torch.device("meta"), torch.no_grad():
        levels = TimmLevels(name).eval()
        side_px = max(levels.strides)
        try:
            levels(torch.zeros(1, 3, 2 * side_px, 3 * side_px))
        except (AssertionError, RuntimeError) as error:
            raise StrategyError(
                f"model {name!r} does not take images of any size ({error}); allowed: plain vision transformers with "
                "resizable positions and convolutional networks; set model"
            ) from error


def filled_model(name: str) -> nn.Module:
    """What a published file of timm fills: the model without the layers that no map needs."""
    model: nn.Module = TimmLevels(name).model
    return model


def __getattr__(name: str) -> Callable[[], nn.Module]:
    # datasheets name an architecture as `module:attribute`; any model of timm is an attribute of this module
    if name.startswith("__"):
        raise AttributeError(name)
    return functools.partial(filled_model, name)
