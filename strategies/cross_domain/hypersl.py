"""HyperSL (Kong et al. 2025): frozen features of every pixel's spectrum, read by a segmentation network.

The model of Theisen and Neubert 2026 (arXiv:2604.26478): the encoder is not trained, its 256 features a pixel take the
place of the bands. Their export left BatchNorm in training mode and did not scale its input; `bn_mode: batch` does
the first, and the grid's normalisation none the second. The defaults are what the encoder was pretrained for.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies._base import (
    Accepts,
    Distribution,
    Float,
    Int,
    Pretraining,
    Regime,
    StrategyError,
    check_bands,
    check_range,
)
from strategies._foundation import WHOLE_IMAGE_PX, FoundationModel, Parts
from strategies._wavelengths import Wavelengths, ascending, told
from strategies.in_domain.hs3_unet import HS3UNetStrategy

if TYPE_CHECKING:
    from torch import nn

WEIGHTS = "hypersl_small"
FeatureHead = Literal["pixel", "linear", "unet", "runet", "deeplabv3plus"]
WIDTHS = {"small": 256, "reduced": 16}
"""Features of a pixel."""
MOST_BANDS = 500
"""Positions that the published network has room for."""


@dataclass(frozen=True, kw_only=True)
class HyperSL(FoundationModel):
    """HyperSL-small's encoder of single spectra under a network of images or a classifier of pixels.

    Bands are shown to its convolutions in the order of their wavelengths. Features of HS3-Bench's largest images fill
    hundreds of megabytes an image: see what `plan` says of the feature cache.
    """

    size: Literal["small", "reduced"] = "small"
    """small, the only one with public weights; reduced has none and is for tests."""
    head: FeatureHead = "runet"  # type: ignore[assignment]
    """Reader of the features: pixel (the published classifier of single pixels), linear, unet, runet or deeplabv3plus
    (HS3-Bench's networks, 256 channels for bands)."""
    bn_mode: Literal["eval", "batch"] = "eval"
    """BatchNorm by the pretraining's statistics (eval), or by those of a chunk of an image's pixels as in the
    published export (batch; HSI-Drive and HyperspectralCity 5000 pixels a chunk, HyKo2 50000)."""
    chunk_pixels: int = 5000
    """Pixels of a chunk, row by row; with bn_mode eval it changes nothing, unless the whole model trains."""
    band_order: Literal["sorted", "given"] = "sorted"
    """Whether neighbouring bands are those next in wavelength, or those next in the cube."""
    wavelengths: Wavelengths = "true"
    """What the encoder is told of its bands: their wavelengths (true) or, as a control, those of others (shuffled)."""
    lora_targets: str = r"(encoder_blocks\.\d+|transformer_encoder_layer)\.attn\.(qkv|proj)\.weight"
    """Regular expression: weights of the encoder that get updates; regime lora only."""

    summary: ClassVar[str] = "HyperSL's features of single spectra (EnMAP, DESIS), read by a network or a pixel head"
    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "lora", "full")
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "dropout": Float(0.0, 0.5),
        "layer_decay": Float(0.5, 1.0),
        "lora_rank": Int(2, 16, log=True),
    }
    accepts: ClassVar[Accepts] = Accepts(
        needs_wavelengths=True,
        wavelength_range_nm=(400.0, 2500.0),
        max_bands=MOST_BANDS,
        normalisation="per_band_minmax",
    )
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights=WEIGHTS,
        modality="hsi",
        domain="remote",
        datasets=("hypersl_enmap", "hypersl_desis"),
        sensors=("EnMAP", "DESIS"),
        supervised=False,
    )
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "bn_mode", "chunk_pixels", "band_order", "wavelengths")
    contract_fields: ClassVar[Mapping[str, Any]] = {"size": "reduced", "head": "linear"}
    reference_step_s: ClassVar[float] = 20.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("chunk_pixels", self.chunk_pixels, 1, 10_000_000)
        if self.enlarge != 1:
            raise StrategyError(
                f"enlarge {self.enlarge} has no meaning for a model of single pixels; allowed: 1; leave enlarge out"
            )

    @property
    def is_pixelwise(self) -> bool:  # type: ignore[override]
        """Whether a pixel's features come from its own spectrum alone."""
        return self.bn_mode == "eval"

    @property
    def receptive_field_px(self) -> int:
        """That of the network on the features; with bn_mode batch the pixels of a chunk see one another."""
        if not self.is_pixelwise or self.head == "deeplabv3plus":
            return WHOLE_IMAGE_PX
        return HS3UNetStrategy().receptive_field_px if self.head in ("unet", "runet") else 1

    @property
    def inference_px(self) -> int:
        """Images of any size: the features are made some pixels at a time."""
        return 0

    def space(self) -> Mapping[str, Distribution]:
        # the other heads come with the dropout that was published with them
        return {key: value for key, value in super().space().items() if key != "dropout" or self.head == "linear"}

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        """One map of 256 features a pixel; see `Strategy.cached_features`."""
        return ((WIDTHS[self.size], height_px, width_px),) if self.regime == "frozen" else None

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        """See `FoundationModel.make_parts`; there is no input layer to make, the encoder takes any bands."""
        from torch import nn

        from strategies.backbones.hypersl import HyperSLEncoder, PixelFeatures

        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        order = ascending(num_bands, wavelengths_nm) if self.band_order == "sorted" else None
        encoder = HyperSLEncoder(told(wavelengths_nm, self.wavelengths), size=self.size, order=order)
        features = PixelFeatures(encoder, bn_mode=self.bn_mode, chunk_pixels=self.chunk_pixels)
        return Parts(stem=nn.Identity(), backbone=features, channels=(encoder.width,))

    def filled(self, parts: Parts) -> nn.Module:
        """See `FoundationModel.filled`."""
        encoder: nn.Module = parts.backbone.get_submodule("encoder")
        return encoder

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
        from strategies._feature_heads import make_feature_head
        from strategies.adaptation import AdaptableModel, adapt
        from strategies.backbones._weights import fill_pretrained

        check_bands(self, num_bands, wavelengths_nm)
        parts = self.make_parts(num_bands, wavelengths_nm)
        fill_pretrained(self.filled(parts), self.weights_name(), self.init, weights_path)
        head = make_feature_head(self.head, parts.channels[0], num_classes, dropout=self.dropout)
        model = AdaptableModel(stem=parts.stem, backbone=parts.backbone, head=head)
        return adapt(model, self.regime, rank=self.lora_rank, targets=self.lora_targets)

    def layers_of(self, model: nn.Module) -> tuple[str, ...]:
        """See `FoundationModel.layers_of`."""
        blocks = len(model.get_submodule("backbone.encoder.encoder_blocks"))  # type: ignore[arg-type]
        encoder = "backbone.encoder"
        return (
            "backbone",
            *(f"{encoder}.encoder_blocks.{number}" for number in range(blocks)),
            f"{encoder}.transformer_encoder_layer",
        )


STRATEGY = HyperSL
