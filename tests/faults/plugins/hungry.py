"""A network that needs much memory for every sample of its batch: too much for a whole batch, not for half of one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies.in_domain.spectral_cnn import SpectralCNN

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class Hungry(SpectralCNN):
    """The spectral CNN, with an allocation in proportion to the batch in every training step."""

    mib_per_sample: ClassVar[int] = 8

    def build(self, **facts: Any) -> nn.Module:
        import torch

        model = super().build(**facts)

        def take(module: Any, inputs: Any) -> None:
            if module.training:
                torch.empty(len(inputs[0]) * self.mib_per_sample * 2**20, dtype=torch.uint8)

        model.register_forward_pre_hook(take)
        return model


STRATEGY = Hungry
