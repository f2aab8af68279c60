"""A network that needs more memory than any limit leaves, however small the batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strategies.in_domain.spectral_cnn import SpectralCNN

if TYPE_CHECKING:
    from torch import nn

TAKEN_GIB = 6


@dataclass(frozen=True, kw_only=True)
class Insatiable(SpectralCNN):
    """The spectral CNN, with one large allocation in every training step."""

    def build(self, **facts: Any) -> nn.Module:
        import torch

        model = super().build(**facts)

        def take(module: Any, _: Any) -> None:
            if module.training:
                torch.empty(TAKEN_GIB * 2**30, dtype=torch.uint8)

        model.register_forward_pre_hook(take)
        return model


STRATEGY = Insatiable
