"""What strategies on a pretrained vision transformer (or another large backbone) share: fields, regimes, heads.

A model's own file says how its backbone is made and fed; what must be the same for a fair comparison is here.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies._base import (
    Distribution,
    Float,
    Initialisation,
    Int,
    Regime,
    Strategy,
    StrategyError,
    check_bands,
    check_range,
)
from strategies._declarations import of_regime

if TYPE_CHECKING:
    from torch import nn

    from strategies._dense_heads import PaddedModel

WHOLE_IMAGE_PX = 4097
"""Receptive field of a model in which every pixel sees the whole input: more than any input has."""


@dataclass(frozen=True)
class Parts:
    """What a foundation model is put together from."""

    stem: nn.Module
    """Made for the data set's bands and trained in the regime stem; without parameters where pretraining fills all."""
    backbone: nn.Module
    """What pretraining fills: maps the stem's output to one feature map a level, the finest first."""
    channels: tuple[int, ...]
    """Channels of each level."""
    multiple_px: int = 1
    """Height and width of the input are padded (reflected) to a multiple of it."""
    first_blocks: tuple[str, ...] = ()
    """Prefixes of the backbone's blocks in order, for `stem_blocks`."""


@dataclass(frozen=True, kw_only=True)
class FoundationModel(Strategy):
    """Base of the strategies on large pretrained backbones."""

    regime: Regime = "frozen"
    init: Initialisation = "pretrained"
    head: Literal["linear", "upernet", "dpt"] = "upernet"
    """Decoder on the levels: linear (each pixel's features), upernet (at most 10 million parameters) or dpt (ViT)."""
    learning_rate: float = 1e-3
    """Learning rate of AdamW for new layers."""
    layer_decay: float = 0.75
    """Factor on the learning rate for each layer further from the head; regime full only."""
    dropout: float = 0.1
    """Share of features dropped before the classifier."""
    stem_blocks: int = 0
    """First blocks of the backbone that train along with the stem; regime stem only."""
    lora_rank: int = 8
    """Rank of the updates; regime lora only."""
    lora_targets: str = r"blocks\.\d+\.attn\.(qkv|proj)\.weight"
    """Regular expression: weights of the backbone that get updates; regime lora only."""
    image_px: int = 224
    """Side of the square windows in which larger images are predicted and blended."""
    enlarge: int = 1
    """The input is enlarged so many times before the backbone: finer features, at the square of its cost."""

    regimes: ClassVar[tuple[Regime, ...]] = ("frozen", "stem", "lora", "full")
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "dropout": Float(0.0, 0.5),
        "layer_decay": Float(0.5, 1.0),
        "lora_rank": Int(2, 16, log=True),
    }
    contract_fields: ClassVar[Mapping[str, Any]] = {"size": "reduced"}

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("layer_decay", self.layer_decay, 0.01, 1)
        check_range("dropout", self.dropout, 0, 0.95)
        check_range("lora_rank", self.lora_rank, 1, 1024)
        check_range("stem_blocks", self.stem_blocks, 0, 64)
        check_range("image_px", self.image_px, 16, 4096)
        check_range("enlarge", self.enlarge, 1, 8)
        if self.stem_blocks and self.regime != "stem":
            raise StrategyError(f"stem_blocks {self.stem_blocks} is for regime stem; set regime: stem or leave it out")
        if getattr(self, "size", "") == "reduced" and self.init != "random":
            raise StrategyError("size 'reduced' has no weights; allowed: init random; set it, or another size")

    @property
    def receptive_field_px(self) -> int:
        """Every output pixel sees the whole window it is predicted in."""
        return 1 if self.is_pixelwise and self.head == "linear" else WHOLE_IMAGE_PX

    @property
    def inference_px(self) -> int:
        return 0 if self.is_pixelwise else self.image_px

    def space(self) -> Mapping[str, Distribution]:
        return of_regime(self.search_space, self.regime)

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        """Stem and backbone with random weights.

        Raises:
            StrategyError: bands that the model cannot take.
        """
        raise NotImplementedError

    def weights_name(self) -> str:
        """Name in the weights registry of what fills this instance's backbone: a size can have its own."""
        assert self.pretraining is not None
        return self.pretraining.weights

    def filled(self, parts: Parts) -> nn.Module:
        """The module whose state dict the published file fills; the backbone, unless a model's file says otherwise."""
        return parts.backbone

    def finished(
        self,
        parts: Parts,
        num_bands: int,  # noqa: ARG002
        wavelengths_nm: Sequence[float] | None,  # noqa: ARG002
    ) -> Parts:
        """The parts after weights were loaded, for models whose loaded weights are made over for the bands."""
        return parts

    def assembled(self, parts: Parts, head: nn.Module) -> PaddedModel:
        """The parts and a head as one model, before a regime is applied."""
        from strategies._dense_heads import PaddedModel

        return PaddedModel(
            stem=parts.stem, backbone=parts.backbone, head=head, multiple_px=parts.multiple_px, enlarge=self.enlarge
        )

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
        from strategies._dense_heads import make_head
        from strategies.adaptation import adapt_blocks
        from strategies.backbones._weights import fill_pretrained, refuse_without_file

        check_bands(self, num_bands, wavelengths_nm)
        refuse_without_file(self.weights_name(), self.init, weights_path)
        parts = self.make_parts(num_bands, wavelengths_nm)
        fill_pretrained(self.filled(parts), self.weights_name(), self.init, weights_path)
        parts = self.finished(parts, num_bands, wavelengths_nm)
        if self.stem_blocks > len(parts.first_blocks):
            raise StrategyError(
                f"stem_blocks {self.stem_blocks}: the backbone has {len(parts.first_blocks)} blocks that can be named; "
                "allowed: at most as many; set stem_blocks"
            )
        model = self.assembled(parts, make_head(self.head, parts.channels, num_classes, dropout=self.dropout))
        first = parts.first_blocks[: self.stem_blocks]
        return adapt_blocks(model, self.regime, rank=self.lora_rank, targets=self.lora_targets, first_blocks=first)

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Layers near the input learn more slowly in the regime full; see `Strategy.parameter_groups`."""
        from strategies.adaptation import parameter_groups

        decay = self.layer_decay if self.regime == "full" else 1.0
        layers = self.layers_of(model) if self.regime == "full" else ()
        return parameter_groups(model, learning_rate=self.learning_rate, layer_decay=decay, layers=layers)

    def layers_of(self, model: nn.Module) -> tuple[str, ...]:
        """Prefixes of parameter names of a built model, the layer nearest to the input first.

        Default: the stem, what is left of the backbone, then `backbone.blocks.N` in order.
        """
        numbers = {
            int(name.split(".")[2]) for name, _ in model.named_parameters() if name.startswith("backbone.blocks.")
        }
        return ("stem", "backbone", *(f"backbone.blocks.{number}" for number in sorted(numbers)))
