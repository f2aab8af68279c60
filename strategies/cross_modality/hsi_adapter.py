"""A frozen RGB vision transformer with an adapter for hyperspectral data, after HSI-Adapter.

A re-implementation from the published description (arXiv:2509.20107), not validated against its numbers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from strategies._base import Accepts, Distribution, Float, Pretraining, Regime, StrategyError, check_range
from strategies._foundation import FoundationModel, Parts
from strategies.cross_modality.timm_vision import DEFAULT, PretrainingOfModel, check_model_name, weights_of


@dataclass(frozen=True, kw_only=True)
class HsiAdapter(FoundationModel):
    """HSI-Adapter (Hurtado, Mohan and Valada 2025, arXiv:2509.20107), re-implemented from its published description.

    Not validated against its numbers: neither code nor sizes were public. A spectral transformer and a spatial prior
    make maps of all bands; four interaction blocks inject them into the frozen transformer and extract from it, through
    gates; both join in the decoder. In the regime stem the adapter and the head train and the transformer does not.
    """

    regime: Regime = "stem"
    model: str = DEFAULT
    """A plain vision transformer of timm: DINOv2 or one trained on ImageNet."""
    size: Literal["published", "reduced"] = "published"
    """reduced: a tiny vision transformer without weights in place of `model`, for tests."""
    group_bands: int = 8
    """Neighbouring bands that make one token of the spectral transformer."""
    spectral_width: int = 64
    """Features of the spectral transformer."""
    spectral_depth: int = 2
    """Blocks of the spectral transformer."""

    summary: ClassVar[str] = (
        "frozen RGB vision transformer with a spectral adapter: re-implementation from the published description "
        "(arXiv:2509.20107), not validated against its numbers"
    )
    regimes: ClassVar[tuple[Regime, ...]] = ("stem", "full")
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "learning_rate": Float(1e-4, 1e-2, log=True),
        "dropout": Float(0.0, 0.5),
        "layer_decay": Float(0.5, 1.0),
    }
    accepts: ClassVar[Accepts] = Accepts(min_bands=3)
    pretraining: ClassVar[Pretraining | None] = PretrainingOfModel()  # type: ignore[assignment]
    reference_step_s: ClassVar[float] = 3.0

    def __post_init__(self) -> None:
        check_model_name(self.model)
        super().__post_init__()
        check_range("group_bands", self.group_bands, 1, 64)
        check_range("spectral_width", self.spectral_width, 8, 1024)
        check_range("spectral_depth", self.spectral_depth, 1, 24)
        if self.head != "upernet":
            raise StrategyError(f"head {self.head!r} does not join the adapter's four levels; allowed: upernet; set it")

    def weights_name(self) -> str:
        return weights_of(self.model)

    def space(self) -> Mapping[str, Distribution]:
        unused = {"layer_decay"} if self.regime != "full" else set()
        return {key: value for key, value in self.search_space.items() if key not in unused}

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        from strategies.backbones.hsi_adapter import Adapter
        from strategies.backbones.hsi_adapter_model import StagedTransformer
        from strategies.backbones.timm_backbones import REDUCED

        backbone = StagedTransformer(REDUCED if self.size == "reduced" else self.model)
        adapter = Adapter(
            num_bands,
            wavelengths_nm,
            backbone.channels[0],
            group_bands=self.group_bands,
            spectral_width=self.spectral_width,
            spectral_depth=self.spectral_depth,
        )
        return Parts(
            stem=adapter,
            backbone=backbone,
            channels=backbone.channels,
            multiple_px=backbone.strides[0],
            first_blocks=backbone.stages(),
        )

    def filled(self, parts: Parts) -> Any:
        return parts.backbone.model

    def assembled(self, parts: Parts, head: Any) -> Any:
        from strategies.backbones.hsi_adapter_model import AdapterModel

        return AdapterModel(
            stem=parts.stem, backbone=parts.backbone, head=head, multiple_px=parts.multiple_px, enlarge=self.enlarge
        )

    def initialise_from_data(self, model: Any, spectra_NC: Any) -> None:
        """Set the picture that the transformer sees; see `Strategy.initialise_from_data`."""
        from strategies.backbones.rgb_stems import fit_stem

        fit_stem(model, spectra_NC)

    def layers_of(self, model: Any) -> tuple[str, ...]:
        """The transformer's patch embedding and blocks; the adapter is new, like the head."""
        return ("backbone", *(f"backbone.{stage}" for stage in model.backbone.stages()))


STRATEGY = HsiAdapter
