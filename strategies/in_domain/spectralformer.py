"""SpectralFormer, a transformer along the bands of pixels or windows, trained on the target data alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from strategies._base import StrategyError, check_bands, check_range
from strategies._window_network import WindowNetwork, in_order_of_wavelength

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True, kw_only=True)
class SpectralFormer(WindowNetwork):
    """Hong et al., SpectralFormer: Rethinking Hyperspectral Image Classification with Transformers (TGRS 2022).

    Own code from the paper; with the defaults it has as many parameters as the authors' weights. `patch: 1` is the
    pixel-wise form. Bands are read in the order of wavelength where that is known. AdamW trains it, as all networks of
    a sweep.
    """

    learning_rate: float = 5e-4
    """Learning rate of AdamW."""
    patch: int = 7
    """Side in pixels of the windows, 1 = single pixels; a larger one wins on random splits by leakage alone."""
    group_bands: int = 3
    """Neighbouring bands in one token, odd; 1 = without group-wise embedding. Published: 3, and 7 for Pavia."""
    fusion: Literal["on", "off"] = "on"
    """Cross-layer adaptive fusion; off = a plain transformer."""
    width: int = 64
    """Length of a token."""
    depth: int = 5
    """Transformer blocks."""
    heads: int = 4
    """Attention heads."""
    mlp_width: int = 8
    """Hidden width of the MLPs."""

    summary: ClassVar[str] = "SpectralFormer: transformer along groups of bands of windows, from scratch"
    contract_fields: ClassVar[Mapping[str, Any]] = {"patch": 3, "width": 16, "depth": 3, "heads": 2}
    reference_step_s: ClassVar[float] = 1.1

    def __post_init__(self) -> None:
        if isinstance(self.fusion, bool):  # YAML reads on and off as true and false
            object.__setattr__(self, "fusion", "on" if self.fusion else "off")
        super().__post_init__()
        for name, low, high in (
            *(("group_bands", 1, 63), ("width", 4, 4096), ("depth", 1, 64), ("heads", 1, 64), ("mlp_width", 1, 16384)),
        ):
            check_range(name, getattr(self, name), low, high)
        if self.group_bands % 2 == 0:
            raise StrategyError(
                f"group_bands {self.group_bands} is even; allowed: odd numbers, so that a group has a middle"
            )
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
        from strategies.backbones.spectralformer import SpectralFormerEncoder

        check_bands(self, num_bands, wavelengths_nm)
        if self.group_bands > num_bands:
            raise StrategyError(
                f"group_bands {self.group_bands}: the data set has {num_bands} bands; set it to {num_bands} or less"
            )
        encoder = SpectralFormerEncoder(
            num_bands,
            side_px=self.patch,
            group=self.group_bands,
            width=self.width,
            depth=self.depth,
            heads=self.heads,
            mlp_width=self.mlp_width,
            dropout=self.dropout,
            fuses=self.fusion == "on" and self.depth > 2,
        )
        stem = in_order_of_wavelength(num_bands, wavelengths_nm)
        return self.classifier(stem, encoder, self.width, num_classes)


STRATEGY = SpectralFormer
