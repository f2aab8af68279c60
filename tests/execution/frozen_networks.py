"""Plugins for tests: small frozen backbones, of single pixels under two heads and of whole images."""

from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies._base import Initialisation, Pretraining, Regime, Strategy


@dataclass(frozen=True, kw_only=True)
class FrozenNetwork(Strategy):
    regime: Regime = "frozen"
    init: Initialisation = "random"
    kind_of_backbone: Literal["pixel", "image"] = "pixel"
    head: Literal["linear", "spatial"] = "linear"
    learning_rate: float = 1e-2
    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "full")
    feature_fields: ClassVar[tuple[str, ...]] = ("kind_of_backbone",)
    is_pixelwise: ClassVar[bool] = True
    pretraining: ClassVar[Pretraining | None] = None

    @property
    def receptive_field_px(self):
        return 1 if (self.head, self.kind_of_backbone) == ("linear", "pixel") else 9

    def cached_features(self, height_px, width_px):
        if self.regime != "frozen":
            return None
        if self.kind_of_backbone == "pixel":
            return ((12, height_px, width_px),)
        return ((8, height_px // 2, width_px // 2), (12, height_px // 4, width_px // 4))

    def build(self, *, num_bands, wavelengths_nm, num_classes, image_size, weights_path=None):  # noqa: ARG002
        from torch import nn

        from strategies.adaptation import AdaptableModel, adapt
        from strategies.heads import LinearHead, PyramidHead

        if self.kind_of_backbone == "image":

            class Levels(nn.Module):
                def __init__(self):
                    super().__init__()
                    self.first = nn.Conv2d(num_bands, 8, 3, stride=2, padding=1)
                    self.second = nn.Conv2d(8, 12, 3, stride=2, padding=1)

                def forward(self, x_BCHW):
                    first = self.first(x_BCHW).relu()
                    return [first, self.second(first).relu()]

            backbone, head = Levels(), PyramidHead((8, 12), num_classes, width=16)
        else:
            backbone = nn.Sequential(nn.Conv2d(num_bands, 12, 1), nn.Tanh())
            head = LinearHead(12, num_classes)
            if self.head == "spatial":
                head.classify = nn.Conv2d(12, num_classes, 3, padding=1)
        return adapt(AdaptableModel(stem=nn.Identity(), backbone=backbone, head=head), self.regime)


@dataclass(frozen=True, kw_only=True)
class FrozenImages(FrozenNetwork):
    kind_of_backbone: Literal["pixel", "image"] = "image"
    head: Literal["linear", "spatial"] = "spatial"
    is_pixelwise: ClassVar[bool] = False


STRATEGY = FrozenNetwork
