"""What the baselines of HS3-Bench have in common: the input that they are shown, and one learning rate."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, Literal

from strategies._base import Accepts, Distribution, Float, Strategy, StrategyError, check_range
from strategies._rgb import choose_rgb

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

Input = Literal["hsi", "pca", "pca_per_image", "pseudo_rgb"]


@dataclass(frozen=True, kw_only=True)
class BandInputStrategy(Strategy):
    """A network behind an input layer that passes all bands, principal components or three bands."""

    learning_rate: float = 1e-3
    """Learning rate of AdamW."""
    input: Input = "hsi"
    """hsi (all bands), pca (components of the training spectra), pca_per_image (of each image by itself, test images
    included: compatibility with HS3-Bench's code) or pseudo_rgb (three bands)."""
    components: int = 1
    """Principal components; inputs pca and pca_per_image only."""
    rgb_bands: str = ""
    """Three 0-based bands such as "14,7,0"; empty = nearest to 640, 550 and 460 nm; input pseudo_rgb only."""

    search_space: ClassVar[Mapping[str, Distribution]] = {"learning_rate": Float(1e-4, 1e-2, log=True)}
    accepts: ClassVar[Accepts] = Accepts(min_bands=3)

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("components", self.components, 1, 512)
        if self.components != 1 and not self.input.startswith("pca"):
            raise StrategyError(
                f"components {self.components} has no meaning with input {self.input!r}; allowed: 1, or input pca; "
                "leave components out"
            )
        if self.rgb_bands and self.input != "pseudo_rgb":
            raise StrategyError(
                f"rgb_bands {self.rgb_bands!r} has no meaning with input {self.input!r}; allowed: input pseudo_rgb; "
                "leave rgb_bands out"
            )

    def check_sensor(self, num_bands: int, wavelengths_nm: Sequence[float] | None) -> None:
        """Three bands must be there to choose, or as many as components; see `Strategy.check_sensor`."""
        if self.input == "pseudo_rgb":
            choose_rgb(num_bands, wavelengths_nm, self.rgb_bands)
        if self.components > num_bands:
            raise StrategyError(
                f"components {self.components} are more than the {num_bands} bands; allowed: 1 to {num_bands}; lower it"
            )

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:
        """Fit the principal components; see `Strategy.initialise_from_data`."""
        from strategies.backbones.band_inputs import fit_input

        fit_input(model, spectra_NC)
