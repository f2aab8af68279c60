"""MiniROCKET on single spectra: fixed convolutions and a linear classifier, a published baseline of HS3-Bench."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from strategies._base import Accepts, Distribution, Float, Strategy, StrategyError, check_bands, check_range
from strategies._wavelengths import ascending

if TYPE_CHECKING:
    import numpy as np
    from torch import nn

KERNELS = 84


@dataclass(frozen=True, kw_only=True)
class MiniRocket(Strategy):
    """Shares of the spectrum where fixed kernels exceed quantiles of training spectra; on them a linear classifier.

    Own code from the paper (Dempster, Schmidt and Webb, KDD 2021): the maintained libraries that hold it ask for older
    versions of NumPy and pandas than this project's. The spectrum is read in the order of wavelength where that is
    known. 9996 features, BatchNorm before the classifier and this learning rate are those of the code of HS3-Bench's
    2026 paper.
    """

    learning_rate: float = 3e-4
    """Learning rate of AdamW, for the classifier."""
    features: int = 9996
    """A multiple of 84, the number of kernels."""

    summary: ClassVar[str] = "MiniROCKET: fixed convolutions on single spectra, linear classifier"
    search_space: ClassVar[Mapping[str, Distribution]] = {"learning_rate": Float(3e-5, 3e-2, log=True)}
    accepts: ClassVar[Accepts] = Accepts(min_bands=9)
    contract_fields: ClassVar[Mapping[str, Any]] = {"features": 2 * KERNELS}
    reference_step_s: ClassVar[float] = 0.4

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("learning_rate", self.learning_rate, 1e-8, 10)
        check_range("features", self.features, KERNELS, 100_000)
        if self.features % KERNELS:
            near = round(self.features / KERNELS) * KERNELS
            raise StrategyError(
                f"features {self.features} is no multiple of the {KERNELS} kernels; allowed: {KERNELS} to 99960 in "
                f"steps of {KERNELS}; set it to {near}"
            )

    @property
    def receptive_field_px(self) -> int:
        return 1

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
        from strategies.backbones.minirocket import MiniRocketModel

        check_bands(self, num_bands, wavelengths_nm)
        order = ascending(num_bands, wavelengths_nm)
        return MiniRocketModel(order, features=self.features, classes=num_classes)

    def initialise_from_data(self, model: nn.Module, spectra_NC: np.ndarray) -> None:
        """Take the biases from training spectra; see `Strategy.initialise_from_data`."""
        from strategies.backbones.minirocket import MiniRocketModel

        if isinstance(model, MiniRocketModel):
            model.features.fit(spectra_NC)


STRATEGY = MiniRocket
