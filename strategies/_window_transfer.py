"""What strategies that pretrain an encoder of windows themselves share: bands, weights, pretraining, fine-tuning.

What must be the same for a fair comparison of such pretrainings is here; a strategy's own file says which encoder and
which pretraining.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from strategies._base import Bands, OwnPretraining, StrategyError, check_bands
from strategies._window_fields import Switch as Switch
from strategies._window_fields import WindowFields

if TYPE_CHECKING:
    from torch import nn

    from strategies.backbones.s2former import S2Encoder, Sizes
    from strategies.backbones.spectral_mae import SpectralEncoder
    from strategies.objectives.fine_tuning import FineTuningSettings

ENCODER_FIELDS = (
    *("adapter", "grid", "grid_low_nm", "grid_high_nm", "common_bands", "group_bands"),
    *("patch", "width", "depth", "heads", "feed_forward", "representation"),
)


@dataclass(frozen=True, kw_only=True)
class WindowTransfer(WindowFields):
    """Base of the strategies with a pretraining of their own on windows of source data sets."""

    # ---- pretraining

    def own_pretraining(self) -> OwnPretraining | None:
        """See `Strategy.own_pretraining`."""
        if self.init != "pretrained":
            return None
        return OwnPretraining(
            sources=() if self.pool == "target" else self.sources(),
            pool=self.pool,
            is_supervised=self.is_supervised,
            steps=self.pretrain_steps,
            batch_size=self.pretrain_batch_size,
            learning_rate=self.pretrain_learning_rate,
            weight_decay=self.pretrain_weight_decay,
            warmup_fraction=self.pretrain_warmup,
            seeds=self.pretrain_seeds,
            fields=(*ENCODER_FIELDS, *self.pretrain_fields),
        )

    def check_transfer(self, sources: Sequence[Bands], target: Bands) -> None:
        """Sources and target must be put on one grid; see `Strategy.check_transfer`."""
        from strategies._window_bands import shared_grid

        on_wavelengths = shared_grid(self, [bands.wavelengths_nm for bands in sources]) if sources else False
        if on_wavelengths and target.wavelengths_nm is None:
            raise StrategyError(
                "its wavelengths are unknown, and the pretraining is on those of the sources; set grid: index "
                "for both, or give wavelengths_nm"
            )

    def make_encoder(self, *, dropout: float) -> S2Encoder | SpectralEncoder:
        """The encoder with random weights."""
        raise NotImplementedError

    def sizes(self, dropout: float) -> Sizes:
        """Numbers of the encoder."""
        from strategies.backbones.s2former import Sizes

        return Sizes(
            common_bands=self.common_bands,
            group_bands=self.group_bands,
            side_px=self.patch,
            width=self.width,
            depth=self.depth,
            num_heads=self.heads,
            feed_forward_factor=self.feed_forward,
            representation=self.representation,
            dropout=dropout,
        )

    def pretraining_parts(self, sources: Sequence[Bands]) -> tuple[Any, list[nn.Module]]:
        """The encoder to be pretrained and an adapter of each source.

        Raises:
            StrategyError: some of the sources have wavelengths and others have not.
        """
        from strategies._window_bands import adapter_of, shared_grid

        encoder = self.make_encoder(dropout=0.0)
        on_wavelengths = shared_grid(self, [bands.wavelengths_nm for bands in sources])
        encoder.on_wavelengths.fill_(int(on_wavelengths))  # type: ignore[operator]
        return encoder, [
            adapter_of(self, bands.num_bands, bands.wavelengths_nm, on_wavelengths=on_wavelengths) for bands in sources
        ]

    # ---- fine-tuning

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
        from strategies._window_bands import adapter_of, load_encoder, shared_grid
        from strategies.adaptation import adapt, freeze_part
        from strategies.backbones.window_classifier import HEADS, WindowClassifier

        check_bands(self, num_bands, wavelengths_nm)
        self.check_sensor(num_bands, wavelengths_nm)
        encoder = self.make_encoder(dropout=self.dropout)
        encoder.on_wavelengths.fill_(int(shared_grid(self, [wavelengths_nm])))  # type: ignore[operator]
        if self.init == "pretrained":
            load_encoder(encoder, weights_path)
        on_wavelengths = bool(encoder.on_wavelengths)
        stem = adapter_of(self, num_bands, wavelengths_nm, on_wavelengths=on_wavelengths)
        encoder.group_embed.groups = stem.groups
        head = HEADS[self.head](encoder.num_features, num_classes, dropout=self.dropout)
        model = WindowClassifier(stem=stem, backbone=encoder, head=head, window_px=self.patch)
        model.register_load_state_dict_post_hook(_take_groups)  # type: ignore[no-untyped-call]
        adapt(model, self.regime)
        for name in encoder.first_parts(self.frozen_blocks):
            freeze_part(model, f"backbone.{name}")
        if self.frozen_blocks:
            for token_D in encoder.class_tokens:
                token_D.requires_grad_(False)
        return model

    def fine_tuning_settings(self) -> FineTuningSettings:
        """Numbers of the fine-tuning."""
        from strategies.objectives.fine_tuning import FineTuningSettings

        return FineTuningSettings(self.label_smoothing, self.turns == "on", self.gain, self.noise)

    def training_objective(self, model: nn.Module) -> nn.Module | None:
        """Cross-entropy with label smoothing on disturbed windows; see `Strategy.training_objective`."""
        from strategies.objectives.fine_tuning import FineTuning

        return FineTuning(model, self.fine_tuning_settings())  # type: ignore[arg-type]

    def parameter_groups(self, model: nn.Module) -> list[dict[str, Any]]:
        """Of a built model, or of its `training_objective` with what that trains beside the model."""
        from strategies.adaptation import parameter_groups
        from strategies.objectives.fine_tuning import FineTuning

        prefix = "model.backbone" if isinstance(model, FineTuning) else "backbone"
        slower = self.encoder_learning_rate / self.learning_rate
        return parameter_groups(model, learning_rate=self.learning_rate, layer_decay=slower, layers=(prefix,))


def _take_groups(model: nn.Module, _keys: object) -> None:
    """A state dict may bring another grid: the encoder sees the groups of bands that the stem gives."""
    model.backbone.group_embed.groups = model.stem.groups  # type: ignore[union-attr]
