"""Plain supervised pretraining on a labelled source: a rival of S2Former by the same machinery.

The encoder, bands, windows and fine-tuning are S2Former's; the pretraining is cross-entropy on the labels of the
sources, with a head of its own for each. The paper that S2Former is reconstructed from argues against source labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from strategies._base import Bands, StrategyError, check_range
from strategies._window_transfer import WindowTransfer

if TYPE_CHECKING:
    from torch import nn

    from strategies.backbones.s2former import S2Encoder


@dataclass(frozen=True, kw_only=True)
class SupervisedSource(WindowTransfer):
    """S2Former's encoder, trained to classify the windows of labelled sources, then fine-tuned with a new head."""

    cross_attention: Literal["both", "off"] = "both"
    """Between the branches in every block; off: two branches on their own."""
    layer_scale: float = 0.1
    """Initial factor on what the branches take from each other."""
    pretrain_label_smoothing: float = 0.1
    """Share of the target that is spread over all classes in pretraining."""

    summary: ClassVar[str] = "S2Former's encoder, pretrained here with the labels of a source"
    is_supervised: ClassVar[bool] = True
    pretraining_only_fields: ClassVar[tuple[str, ...]] = (
        *WindowTransfer.pretraining_only_fields,
        "pretrain_label_smoothing",
    )
    pretrain_fields: ClassVar[tuple[str, ...]] = ("cross_attention", "layer_scale", "pretrain_label_smoothing")
    reference_step_s: ClassVar[float] = 0.65

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("layer_scale", self.layer_scale, 0, 10)
        check_range("pretrain_label_smoothing", self.pretrain_label_smoothing, 0, 0.9)
        if self.pool != "source":
            raise StrategyError(f"pool {self.pool!r} has windows without labels; allowed: source; leave pool out")

    def make_encoder(self, *, dropout: float) -> S2Encoder:
        """See `WindowTransfer.make_encoder`."""
        from strategies.backbones.s2former import S2Encoder

        sizes = self.sizes(dropout)._replace(
            layer_scale=self.layer_scale, cross_attention=self.cross_attention == "both"
        )
        return S2Encoder(sizes)

    def build_pretrainer(self, sources: Sequence[Bands]) -> nn.Module:
        """See `Strategy.build_pretrainer`."""
        from strategies.objectives.window_pretraining import SupervisedPretrainer

        encoder, adapters = self.pretraining_parts(sources)
        return SupervisedPretrainer(
            encoder,
            adapters,
            [bands.num_classes for bands in sources],
            label_smoothing=self.pretrain_label_smoothing,
        )


STRATEGY = SupervisedSource
