"""EfficientNet-lite0 with ImageNet weights on three channels projected from all bands: RGB to hyperspectral transfer.

A supervised pretrained model, not a foundation model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies._base import (
    Accepts,
    Distribution,
    Float,
    Initialisation,
    Int,
    Pretraining,
    Regime,
    Strategy,
    StrategyError,
    check_bands,
    check_range,
)
from strategies._declarations import of_regime

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

WEIGHTS = "efficientnet_lite0_imagenet"
# (kernel, stride) of the depthwise convolutions, in order; stem and 1x1 convolutions aside
_DEPTHWISE = (
    ((3, 1), (3, 2), (3, 1), (5, 2), (5, 1), (3, 2), (3, 1), (3, 1), (5, 1), (5, 1), (5, 1), (5, 2))
    + ((5, 1),) * 3
    + ((3, 1),)
)


@dataclass(frozen=True, kw_only=True)
class EfficientNetLite0(Strategy):
    """Band projection, EfficientNet-lite0 (Tan and Le 2019, arXiv:1905.11946) and a light pyramid head.

    The projection starts from the first three principal components of the training side's spectra. It trains in the
    regimes stem, lora and full where `projection` is "learned"; in the regime frozen only the head does.
    """

    regime: Regime = "full"
    init: Initialisation = "pretrained"
    projection: Literal["learned", "pca"] = "learned"
    """How bands become three channels: learned (from principal components on) or pca (fixed)."""
    learning_rate: float = 2e-3
    """Learning rate of AdamW for new layers."""
    layer_decay: float = 0.9
    """Factor on the learning rate for each stage of the backbone further from the head; regime full only."""
    dropout: float = 0.1
    """Share of features dropped before the classifier."""
    lora_rank: int = 8
    """Rank of the updates; regime lora only."""
    lora_targets: str = r"conv_(pw|pwl)\.weight"
    """Regular expression: weights of the backbone that get updates; regime lora only."""
    head_width: int = 64
    """Channels of the head."""

    summary: ClassVar[str] = "EfficientNet-lite0 on three projected channels, pretrained on ImageNet (RGB)"
    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "stem", "lora", "full")
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(2e-4, 2e-2, log=True),
        "dropout": Float(0.0, 0.5),
        "layer_decay": Float(0.5, 1.0),
        "lora_rank": Int(2, 16, log=True),
    }
    accepts: ClassVar[Accepts] = Accepts(min_bands=3)
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights=WEIGHTS,
        modality="rgb",
        domain="natural_images",
        datasets=("imagenet_1k",),
        sensors=("rgb_camera",),
        supervised=True,
    )
    reference_step_s: ClassVar[float] = 0.12

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("layer_decay", self.layer_decay, 0.01, 1)
        check_range("dropout", self.dropout, 0, 0.95)
        check_range("lora_rank", self.lora_rank, 1, 1024)
        check_range("head_width", self.head_width, 8, 1024)
        if self.regime == "stem" and self.projection == "pca":
            raise StrategyError(
                "regime 'stem' trains the projection, but projection 'pca' is fixed; allowed: learned; set it"
            )

    @property
    def receptive_field_px(self) -> int:
        """Upper bound over all positions: each strided step rounds, and interpolation reaches one pixel further."""
        reach, stride = 0.0, 2
        reach += 2  # stem, 3x3 with stride 2; padding may put its centre on either side
        for kernel, step in _DEPTHWISE:
            reach += stride * (kernel // 2 + (step - 1))
            stride *= step
        interpolation = sum(2**level for level in range(1, 6))
        smoothing = 2
        return 2 * int(reach + stride + interpolation + smoothing) + 1

    def space(self) -> Mapping[str, Distribution]:
        return of_regime(self.search_space, self.regime)

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,  # noqa: ARG002
        weights_path: str | None = None,
    ) -> nn.Module:
        """See `Strategy.build`."""
        from strategies.adaptation import AdaptableModel, adapt, freeze_part
        from strategies.backbones._weights import fill_pretrained
        from strategies.backbones.efficientnet import CHANNELS, BandProjection, ChannelsLast, Lite0Pyramid
        from strategies.heads import PyramidHead

        check_bands(self, num_bands, wavelengths_nm)
        backbone = Lite0Pyramid()
        fill_pretrained(backbone, WEIGHTS, self.init, weights_path)
        head = PyramidHead(CHANNELS, num_classes, width=self.head_width, dropout=self.dropout)
        model = AdaptableModel(stem=ChannelsLast(BandProjection(num_bands)), backbone=backbone, head=head)
        adapt(model, self.regime, rank=self.lora_rank, targets=self.lora_targets)
        return freeze_part(model, "stem") if self.projection == "pca" else model

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:
        """Set the projection to principal components; see `Strategy.initialise_from_data`."""
        from strategies.backbones.efficientnet import BandProjection

        for module in model.modules():
            if isinstance(module, BandProjection):
                module.fit(spectra_NC)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Stages near the input learn more slowly in the regime full; see `Strategy.parameter_groups`."""
        from strategies.adaptation import parameter_groups

        if self.regime != "full":
            return parameter_groups(model, learning_rate=self.learning_rate)
        layers = ["backbone", *(f"backbone.blocks.{stage}" for stage in range(7))]
        return parameter_groups(model, learning_rate=self.learning_rate, layer_decay=self.layer_decay, layers=layers)


STRATEGY = EfficientNetLite0
