"""Adaptation regimes (frozen, stem, lora, full) as functions on a model, and the optimiser's parameter groups.

They change the model they are given and return it; they keep no state of their own. Which hyperparameters go with a
regime is the strategy's business.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

from torch import Tensor, nn
from torch.nn.utils import parametrize

from strategies._base import Regime, StrategyError
from strategies._lora import LowRankUpdate, inject_lora

PARTS = ("stem", "backbone", "head")


class AdaptableModel(nn.Module):
    """A model of three parts; parts named in `frozen_parts` stay in evaluation mode whatever the training loop says.

    Evaluation mode matters: BatchNorm in training mode goes on averaging its running statistics, so that a "frozen"
    backbone would drift without any parameter being trained, and dropout would disturb its features.
    """

    def __init__(self, *, stem: nn.Module, backbone: nn.Module, head: nn.Module) -> None:
        super().__init__()
        self.stem = stem
        """Input layer made for the data set's bands."""
        self.backbone = backbone
        """What pretraining fills."""
        self.head = head
        """Decoder and classifier: called with the backbone's output and the input's height and width."""
        self.frozen_parts: tuple[str, ...] = ()
        self.thawed: tuple[nn.Module, ...] = ()
        """Modules inside of frozen parts that train nevertheless (a tuple: they are registered where they belong)."""

    def train(self, mode: bool = True) -> AdaptableModel:
        """Set the mode of all parts but the frozen ones."""
        super().train(mode)
        for name in self.frozen_parts:
            self.get_submodule(name).eval()
        for module in self.thawed:
            module.train(mode)
        return self

    def features(self, x_BCHW: Tensor) -> Tensor | Sequence[Tensor]:
        """What the head is given: one map `[B, F, h, w]`, or one a level."""
        found: Tensor | Sequence[Tensor] = self.backbone(self.stem(x_BCHW))
        return found

    def logits(self, features: Any, size_px: tuple[int, int]) -> Tensor:
        """Logits `[B, K, *size_px]` of an input of this height and width from its features."""
        logits: Tensor = self.head(features, size_px)
        return logits

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits `[B, K, H, W]`."""
        return self.logits(self.features(x_BCHW), (x_BCHW.shape[-2], x_BCHW.shape[-1]))


def freeze_part(model: AdaptableModel, name: str) -> AdaptableModel:
    """Stop a part, or a module inside of one ("backbone.norm"), from training and pin it to evaluation mode."""
    model.get_submodule(name).requires_grad_(False)
    model.frozen_parts = tuple(dict.fromkeys((*model.frozen_parts, name)))
    return model.train(model.training)


def frozen(model: AdaptableModel) -> AdaptableModel:
    """Train the head only."""
    return freeze_part(freeze_part(full(model), "stem"), "backbone")


def stem(model: AdaptableModel) -> AdaptableModel:
    """Train the input layer and the head.

    Raises:
        StrategyError: the model's input layer has no parameters, so the regime would silently be `frozen`.
    """
    if not any(True for _ in model.stem.parameters()):
        raise StrategyError("regime 'stem' needs an input layer with weights, this model has none; use regime 'frozen'")
    return freeze_part(full(model), "backbone")


def lora(model: AdaptableModel, *, rank: int, targets: str, alpha: float | None = None) -> AdaptableModel:
    """Train low-rank updates of the backbone's weights, the input layer and the head; the backbone itself is fixed.

    Args:
        model: changed in place.
        rank: rank of each update.
        targets: regular expression searched in the names of the backbone's weights.
        alpha: size of the update is alpha / rank; None = rank.

    Raises:
        StrategyError: a rank below 1 or targets that match no weight.
    """
    freeze_part(full(model), "backbone")
    inject_lora(model.backbone, rank=rank, targets=targets, alpha=alpha)
    return model


def full(model: AdaptableModel) -> AdaptableModel:
    """Train everything."""
    model.requires_grad_(True)
    model.frozen_parts = ()
    return model


def adapt(model: AdaptableModel, regime: Regime, *, rank: int = 8, targets: str = "weight") -> AdaptableModel:
    """Apply a regime by name; `rank` and `targets` are for lora only.

    Raises:
        StrategyError: an unknown regime, or a model that it does not fit.
    """
    if regime == "lora":
        return lora(model, rank=rank, targets=targets)
    simple = {"frozen": frozen, "stem": stem, "full": full}
    if regime not in simple:
        raise StrategyError(f"regime {regime!r} is unknown; allowed: frozen, stem, lora, full; set one of these")
    return simple[regime](model)


def adapt_blocks(
    model: AdaptableModel, regime: Regime, *, rank: int, targets: str, first_blocks: Sequence[str] = ()
) -> AdaptableModel:
    """Apply a regime; with `stem`, the backbone's modules named in `first_blocks` train too and leave evaluation mode.

    Raises:
        StrategyError: see `adapt`.
    """
    if regime != "stem" or not first_blocks:
        return adapt(model, regime, rank=rank, targets=targets)
    freeze_part(full(model), "backbone")
    chosen = [model.backbone.get_submodule(name.removeprefix("backbone.")) for name in first_blocks]
    for block in chosen:
        block.requires_grad_(True)
    model.thawed = tuple(chosen)
    return model.train(model.training)


def trainable_parameters(model: nn.Module) -> dict[str, nn.Parameter]:
    """The parameters that train, by name, in the model's order."""
    return {name: parameter for name, parameter in model.named_parameters() if parameter.requires_grad}


def count_parameters(model: nn.Module) -> tuple[int, int]:
    """Numbers of all parameters and of those that train."""
    sizes = [(parameter.numel(), parameter.requires_grad) for parameter in model.parameters()]
    return sum(size for size, _ in sizes), sum(size for size, trains in sizes if trains)


def parameter_groups(
    model: nn.Module, *, learning_rate: float, layer_decay: float = 1.0, layers: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Optimiser groups in which every trainable parameter is exactly once.

    Layer n of `layers` gets `learning_rate * layer_decay ** (len(layers) - n)`; everything else (new layers) the full
    rate. Biases, normalisation and other vectors get a `weight_decay` of 0; the rest leaves it to the optimiser.

    The decayed rate is each group's `lr` itself. timm's `param_groups_layer_decay` writes an `lr_scale` instead, which
    torch's optimisers and schedulers ignore: every layer would silently train at the full rate.

    Args:
        model: regime applied.
        learning_rate: of new layers, in the optimiser's unit.
        layer_decay: factor a layer, 1 for none.
        layers: prefixes of parameter names, the layer nearest to the input first; a longer prefix wins.

    Raises:
        StrategyError: no parameter trains.
    """
    groups: dict[tuple[int, bool], dict[str, Any]] = {}
    for name, parameter in trainable_parameters(model).items():
        matches = [(len(prefix), index) for index, prefix in enumerate(layers) if _is_below(name, prefix)]
        index = max(matches)[1] if matches else len(layers)
        is_vector = parameter.ndim < 2
        group = groups.setdefault(
            (index, is_vector), {"params": [], "lr": learning_rate * layer_decay ** (len(layers) - index)}
        )
        group["params"].append(parameter)
        if is_vector:
            group["weight_decay"] = 0.0
    if not groups:
        raise StrategyError("no parameter of the model trains; use another regime")
    return [groups[key] for key in sorted(groups)]


def merge_lora(model: nn.Module) -> nn.Module:
    """Fold low-rank updates into plain weights (for export); the outputs stay the same up to rounding."""
    for module in model.modules():
        if not parametrize.is_parametrized(module):
            continue
        for name, updates in list(module.parametrizations.items()):  # type: ignore[union-attr,operator]
            if all(isinstance(update, LowRankUpdate) for update in updates):
                parametrize.remove_parametrizations(module, name, leave_parametrized=True)
    return model


def _is_below(name: str, prefix: str) -> bool:
    return re.match(re.escape(prefix) + r"(\.|$)", name) is not None
