"""Low-rank updates of weights: W + (alpha / rank) B A, with W fixed (LoRA, Hu et al. 2021, arXiv:2106.09685).

The update is tied to the weight, not to the module's forward: `nn.MultiheadAttention` reads `in_proj_weight` and
`out_proj.weight` without calling any submodule, so a wrapped `nn.Linear` would silently never be used there. A model
with updates can be copied and saved by its state dict, but not pickled whole.
"""

from __future__ import annotations

import math
import re

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from strategies._base import StrategyError

WEIGHTS: dict[type[nn.Module], dict[str, int]] = {
    nn.Linear: {"weight": 1},
    nn.Conv1d: {"weight": 1},
    nn.Conv2d: {"weight": 1},
    nn.MultiheadAttention: {"in_proj_weight": 3, "q_proj_weight": 1, "k_proj_weight": 1, "v_proj_weight": 1},
}
"""Weights that can take an update, with the number of matrices stacked in each: queries, keys and values."""


class LowRankUpdate(nn.Module):
    """Adds an update of the given rank to a weight; it starts at zero, so that the model starts as pretrained."""

    def __init__(self, weight: Tensor, *, rank: int, alpha: float, stacked: int = 1) -> None:
        super().__init__()
        rows, columns = weight.shape[0] // stacked, weight[0].numel()
        # more than full rank would only add parameters
        self.rank = min(rank, rows, columns)
        self.scale = alpha / rank
        self.lora_a = nn.Parameter(torch.empty(stacked, self.rank, columns, dtype=weight.dtype, device=weight.device))
        self.lora_b = nn.Parameter(torch.zeros(stacked, rows, self.rank, dtype=weight.dtype, device=weight.device))
        nn.init.uniform_(self.lora_a, -1 / math.sqrt(columns), 1 / math.sqrt(columns))

    def forward(self, weight: Tensor) -> Tensor:
        """The weight with the update added, same shape."""
        return weight + self.scale * torch.bmm(self.lora_b, self.lora_a).view_as(weight)


def inject_lora(module: nn.Module, *, rank: int, targets: str, alpha: float | None = None) -> nn.Module:
    """Fix all weights of a module and add trainable low-rank updates to some.

    Args:
        module: changed in place.
        rank: rank of each update; lower where the weight is smaller.
        targets: regular expression, searched in names such as `layers.0.attention.in_proj_weight`.
        alpha: size of the update is alpha / rank; None = rank, a size of 1.

    Raises:
        StrategyError: a rank below 1, a bad expression, or one that matches no weight that can take an update.
    """
    if rank < 1:
        raise StrategyError(f"LoRA rank {rank!r} is out of range; allowed: whole numbers from 1; set lora_rank")
    try:
        pattern = re.compile(targets)
    except re.error as error:
        raise StrategyError(f"LoRA targets {targets!r} is no regular expression ({error}); mend it") from error
    candidates = _candidates(module)
    chosen = {name: where for name, where in candidates.items() if pattern.search(name)}
    if not chosen:
        raise StrategyError(f"LoRA targets {targets!r} match no weight; there are: {', '.join(candidates) or 'none'}")
    module.requires_grad_(False)
    for owner, attribute, stacked in chosen.values():
        weight = getattr(owner, attribute)
        update = LowRankUpdate(weight, rank=rank, alpha=float(rank if alpha is None else alpha), stacked=stacked)
        parametrize.register_parametrization(owner, attribute, update)
    return module


def _candidates(module: nn.Module) -> dict[str, tuple[nn.Module, str, int]]:
    found: dict[str, tuple[nn.Module, str, int]] = {}
    for path, owner in module.named_modules():
        for kind, weights in WEIGHTS.items():
            if not isinstance(owner, kind):
                continue
            for attribute, stacked in weights.items():
                if isinstance(owner._parameters.get(attribute), nn.Parameter):
                    found[f"{path}.{attribute}".lstrip(".")] = (owner, attribute, stacked)
    return found
