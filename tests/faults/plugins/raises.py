"""A network that cannot be built while the file `broken` lies beside this one: a mistake in a user's own code."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies.in_domain.spectral_cnn import SpectralCNN

if TYPE_CHECKING:
    from torch import nn

BROKEN = Path(__file__).resolve().parent / "broken"


@dataclass(frozen=True, kw_only=True)
class Raises(SpectralCNN):
    """The spectral CNN, with a mistake in `build`."""

    def build(self, **facts: Any) -> nn.Module:
        if BROKEN.exists():
            raise ValueError("mat1 and mat2 shapes cannot be multiplied (64x96 and 48x16)")
        return super().build(**facts)


STRATEGY = Raises
