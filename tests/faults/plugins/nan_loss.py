"""A network whose logits become NaN after a few training steps."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strategies.in_domain.spectral_cnn import SpectralCNN

if TYPE_CHECKING:
    from torch import nn

GOOD_STEPS = 10


@dataclass(frozen=True, kw_only=True)
class NanLoss(SpectralCNN):
    """The spectral CNN, broken."""

    def build(self, **facts: Any) -> nn.Module:
        model = super().build(**facts)
        calls = 0

        def spoil(module: Any, _: Any, logits: Any) -> Any:
            nonlocal calls
            calls += module.training
            return logits * float("nan") if calls > GOOD_STEPS else logits

        model.register_forward_hook(spoil)
        return model


STRATEGY = NanLoss
