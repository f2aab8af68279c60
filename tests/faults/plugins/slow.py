"""A network that is far too slow for the limit that the sweep sets."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strategies.in_domain.spectral_cnn import SpectralCNN

if TYPE_CHECKING:
    from torch import nn

STEP_S = 1.0


@dataclass(frozen=True, kw_only=True)
class Slow(SpectralCNN):
    """The spectral CNN, with a pause in every training step."""

    def build(self, **facts: Any) -> nn.Module:
        model = super().build(**facts)
        model.register_forward_pre_hook(lambda module, _: time.sleep(STEP_S) if module.training else None)
        return model


STRATEGY = Slow
