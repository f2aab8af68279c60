"""What HyperFree and HyperVision share: one architecture, other weights, other pretraining data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from strategies._base import Accepts, StrategyError, check_range
from strategies._foundation import FoundationModel, Parts
from strategies._levels import map_sides
from strategies._wavelengths import Wavelengths, told
from strategies.backbones.hyperfree_bands import TOLERANCE_NM, match_bands

PATCH_PX = 16
NECK_WIDTH = 256


@dataclass(frozen=True, kw_only=True)
class DictionaryModel(FoundationModel):
    """A model that has weights for wavelengths and looks only at the bands that are near to one of them."""

    ground_sampling_distance_m: float = 1.0
    """Distance on the ground of neighbouring pixels, in metres; the code of a place is multiplied by it."""
    wavelengths: Wavelengths = "true"
    """What the model is told: true, or shuffled (a control: the same band centres, given to other bands)."""
    image_px: int = 512

    regimes: ClassVar = ("frozen", "lora", "full")
    # published code divides an image by its largest number
    accepts: ClassVar[Accepts] = Accepts(needs_wavelengths=True, normalisation="per_band_minmax")
    feature_fields: ClassVar[tuple[str, ...]] = ("size", "ground_sampling_distance_m", "wavelengths", "enlarge")
    range_nm: ClassVar[tuple[float, float]]
    """Bands outside of it were not seen in pretraining and are left out."""

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("ground_sampling_distance_m", self.ground_sampling_distance_m, 1e-5, 1e5)

    def architecture(self) -> str:
        """Name in `backbones.hyperfree.SIZES`."""
        raise NotImplementedError

    def level_channels(self) -> tuple[tuple[int, int], ...]:
        """Channels of each level, and the side of its tokens in pixels."""
        raise NotImplementedError

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:
        """At least one band must be near to an entry of the dictionary; how many are is a column of the results."""
        if wavelengths_nm is None:
            return  # refused by `accepts`
        if not match_bands(told(wavelengths_nm, self.wavelengths), self.range_nm).bands:
            low, high = self.range_nm
            raise StrategyError(
                f"none of {num_bands} bands, for example {wavelengths_nm[0]:g} nm, lies within {TOLERANCE_NM:g} nm of "
                f"a wavelength that {type(self).__name__} knows, {low:g} to {high:g} nm; choose another strategy"
            )

    def cached_features(self, height_px: int, width_px: int) -> tuple[tuple[int, int, int], ...] | None:
        if self.regime != "frozen":
            return None
        multiple_px = max(side for _, side in self.level_channels())
        rows, columns = map_sides(height_px, width_px, patch_px=multiple_px, enlarge=self.enlarge)
        return tuple(
            (channels, rows * (multiple_px // side), columns * (multiple_px // side))
            for channels, side in self.level_channels()
        )

    def make_parts(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> Parts:
        from torch import nn

        from strategies.backbones.hyperfree import SIZES, HyperFreeEncoder

        assert wavelengths_nm is not None  # check_bands has refused it: needs_wavelengths
        self.check_sensor(num_bands, wavelengths_nm)
        size = SIZES[self.architecture()]
        return Parts(
            stem=nn.Identity(),
            backbone=HyperFreeEncoder(
                size,
                told(wavelengths_nm, self.wavelengths),
                range_nm=self.range_nm,
                distance_m=self.ground_sampling_distance_m / self.enlarge,
            ),
            channels=tuple(channels for channels, _ in self.level_channels()),
            multiple_px=max(side for _, side in self.level_channels()),
            first_blocks=tuple(f"backbone.blocks.{number}" for number in range(size.depth)),
        )
