"""RU-Net, the baseline that HS3-Bench proposes: its U-Net, regularised."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from strategies.in_domain.hs3_unet import HS3UNetStrategy


@dataclass(frozen=True, kw_only=True)
class RUNet(HS3UNetStrategy):
    """U-Net with BatchNorm and one dropout of 0.25, as in arXiv:2409.11205; pair it with augmentation rare_mirror."""

    summary: ClassVar[str] = "HS3-Bench's RU-Net: its U-Net with BatchNorm and dropout, from scratch"
    is_regularised: ClassVar[bool] = True


STRATEGY = RUNet
