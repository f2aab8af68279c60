"""DeepLabV3+ on MobileNetV2 with ImageNet weights, shown a pseudo-RGB picture: the strongest published simple row."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from strategies._base import (
    Accepts,
    Distribution,
    Float,
    Initialisation,
    Pretraining,
    Regime,
    Strategy,
    check_bands,
    check_range,
)
from strategies._rgb import choose_rgb

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

WEIGHTS = "mobilenet_v2_imagenet"


@dataclass(frozen=True, kw_only=True)
class DeepLabV3Plus(Strategy):
    """DeepLabV3+(BB) of HS3-Bench (arXiv:2409.11205): all layers train, three bands are shown on ImageNet's scale.

    HS3-Bench feeds its three bands without ImageNet's mean and spread. Here each of them is shifted and scaled by its
    own statistics over the training pixels to those of ImageNet, whatever the grid's normalisation; `scaled: false`
    leaves them as the grid's normalisation made them.
    """

    init: Initialisation = "pretrained"
    learning_rate: float = 1e-3
    """Learning rate of AdamW."""
    rgb_bands: str = ""
    """Three 0-based bands such as "14,7,0"; empty = nearest to 640, 550 and 460 nm."""
    scaled: bool = True
    """Whether the three bands are brought to the statistics of ImageNet's pictures."""

    summary: ClassVar[str] = "DeepLabV3+ on MobileNetV2 with ImageNet weights, on three bands as RGB"
    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "full")
    regime: Regime = "full"
    search_space: ClassVar[Mapping[str, Distribution]] = {"learning_rate": Float(1e-4, 1e-2, log=True)}
    accepts: ClassVar[Accepts] = Accepts(min_bands=3)
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights=WEIGHTS,
        modality="rgb",
        domain="natural_images",
        datasets=("imagenet_1k",),
        sensors=("rgb_camera",),
        supervised=True,
    )
    reference_step_s: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)

    @property
    def receptive_field_px(self) -> int:
        """The pyramid's pooling sees the whole image: an upper bound that no scene of this tool exceeds."""
        return 4097

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:
        """Three bands must be there to choose; see `Strategy.check_sensor`."""
        choose_rgb(num_bands, wavelengths_nm, self.rgb_bands)

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
        from strategies.adaptation import AdaptableModel, adapt
        from strategies.backbones._weights import fill_pretrained
        from strategies.backbones.band_inputs import ChosenBands, ThreeChannels
        from strategies.backbones.deeplabv3plus import DeepLabHead, MobileNetV2Levels

        check_bands(self, num_bands, wavelengths_nm)
        backbone = MobileNetV2Levels()
        fill_pretrained(backbone, WEIGHTS, self.init, weights_path)
        chosen = ChosenBands(choose_rgb(num_bands, wavelengths_nm, self.rgb_bands))
        stem = ThreeChannels(chosen) if self.scaled else chosen
        return adapt(AdaptableModel(stem=stem, backbone=backbone, head=DeepLabHead(num_classes)), self.regime)

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:
        """Take the statistics of the three bands; see `Strategy.initialise_from_data`."""
        from strategies.backbones.band_inputs import fit_input

        fit_input(model, spectra_NC)


STRATEGY = DeepLabV3Plus
