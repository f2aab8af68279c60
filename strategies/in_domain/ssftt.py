"""SSFTT, a transformer on tokens of convolutional features, trained on the target data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies._base import StrategyError, check_bands, check_range
from strategies._window_network import WindowNetwork

if TYPE_CHECKING:
    import numpy as np
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SSFTT(WindowNetwork):
    """Sun et al., Spectral-Spatial Feature Tokenization Transformer for Hyperspectral Image Classification (TGRS 2022).

    Own code from the paper; with the defaults it has as many parameters as the authors' weights. They take the
    whitened components from the whole scene and pad it with zeros; here the components are those of training spectra,
    and windows at the edge are filled by reflection. AdamW trains it, as all networks of a sweep.
    """

    patch: int = 13
    """Side in pixels of the windows; a larger one wins on random splits by leakage alone."""
    components: int = 30
    """Whitened principal components of the training spectra; all of them where there are fewer bands."""
    width: int = 64
    """Length of a token."""
    tokens: int = 4
    """Tokens beside the class token."""
    heads: int = 8
    """Attention heads."""
    mlp_width: int = 8
    """Hidden width of the transformer's MLP."""

    summary: ClassVar[str] = "SSFTT: convolutions, tokens and one transformer block on windows, from scratch"
    smallest_patch: ClassVar[int] = 5
    contract_fields: ClassVar[Mapping[str, Any]] = {"patch": 7, "components": 8, "width": 16, "heads": 2}
    reference_step_s: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        for name, low, high in (
            *(("components", 1, 1024), ("width", 4, 4096), ("tokens", 1, 1024), ("heads", 1, 64)),
            ("mlp_width", 1, 16384),
        ):
            check_range(name, getattr(self, name), low, high)
        if self.width % self.heads:
            raise StrategyError(f"width {self.width} is no multiple of heads {self.heads}; set one that is")

    def build(
        self,
        *,
        num_bands: int,
        wavelengths_nm: Sequence[float] | None,
        num_classes: int,
        image_size: int,  # noqa: ARG002
        weights_path: str | None = None,  # noqa: ARG002
    ) -> nn.Module:
        """See `Strategy.build`."""
        from strategies.backbones.ssftt import SsfttEncoder, WhitenedComponents

        check_bands(self, num_bands, wavelengths_nm)
        components = min(self.components, num_bands)
        encoder = SsfttEncoder(
            components,
            width=self.width,
            tokens=self.tokens,
            heads=self.heads,
            mlp_width=self.mlp_width,
            dropout=self.dropout,
        )
        stem = WhitenedComponents(num_bands, components)
        return self.classifier(stem, encoder, self.width, num_classes)

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:
        """Take the components from training spectra; see `Strategy.initialise_from_data`."""
        from strategies.backbones.band_inputs import fit_input

        fit_input(model, spectra_NC)


STRATEGY = SSFTT
