"""HyperFree: a SAM-like transformer with a dictionary of spectral weights, pretrained on AVIRIS scenes.

Its taps are those of the authors' examples: the four blocks that attend over the whole map, and the neck. Bands that no
entry of the dictionary is near to (10 nm) are not looked at; `bands_used` tells how many are. Published code divides an
image by its largest number; here each band's training range becomes 0 to 1. The published input is enlarged to 1024 px;
`enlarge` and `image_px` do that here, and the ground distance follows.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from strategies._base import Pretraining
from strategies.cross_domain._hyperfree import NECK_WIDTH, PATCH_PX, DictionaryModel

WIDTHS = {"base": 768, "large": 1024, "huge": 1280, "reduced": 32}


@dataclass(frozen=True, kw_only=True)
class HyperFree(DictionaryModel):
    """HyperFree's image encoder with a new head; its input layer is pretrained and takes bands by wavelength."""

    size: Literal["base", "large", "huge", "reduced"] = "base"
    """base (145 million parameters, 58 of them the dictionary), large, huge or reduced (a tiny one for tests)."""
    ground_sampling_distance_m: float = 30.0

    summary: ClassVar[str] = "HyperFree, bands matched to a dictionary of wavelengths, pretrained on AVIRIS scenes"
    pretraining: ClassVar[Pretraining | None] = Pretraining(
        weights="hyperfree_base",
        modality="hsi",
        domain="remote",
        datasets=("hyper_seg",),
        # classical scenes of AVIRIS may be among the pretraining data; nobody has stated it
        sensors=("AVIRIS",),
        supervised=False,
    )
    range_nm: ClassVar[tuple[float, float]] = (390.0, 2510.0)
    reference_step_s: ClassVar[float] = 4.0

    def weights_name(self) -> str:
        return f"hyperfree_{'base' if self.size == 'reduced' else self.size}"

    def architecture(self) -> str:
        return f"hyperfree_{self.size}"

    def level_channels(self) -> tuple[tuple[int, int], ...]:
        return (*((WIDTHS[self.size], PATCH_PX),) * 4, (NECK_WIDTH, PATCH_PX))


STRATEGY = HyperFree
