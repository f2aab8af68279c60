"""What a check looks at: one strategy in one regime and initialisation, and samples of real and made data."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from strategies._base import Accepts, Initialisation, Regime, Strategy

if TYPE_CHECKING:
    import numpy as np
    import torch
    from torch import nn

NUM_CLASSES = 5
USUAL_BANDS = 24
USUAL_RANGE_NM = (420.0, 2400.0)


class ContractError(AssertionError):
    """A strategy does not keep the contract; the text says what was found, what is expected and what to do."""


def expect(holds: bool, text: str) -> None:
    """Go on only if something holds.

    Raises:
        ContractError: it does not.
    """
    if not holds:
        raise ContractError(text)


@dataclass(frozen=True, kw_only=True)
class Subject:
    """A strategy as a check meets it."""

    strategy: type[Strategy]
    name: str
    regime: Regime
    init: Initialisation
    weights_path: str | None = None

    def make(self, **values: Any) -> Strategy:
        small = self.strategy.contract_fields if self.init == "random" else {}
        return self.strategy(**{"regime": self.regime, "init": self.init, **small, **values})

    def build(self, *, num_bands: int | None = None, num_classes: int = NUM_CLASSES, **values: Any) -> nn.Module:
        """The model for a number of bands that the strategy takes."""
        bands = band_count(self.strategy.accepts, USUAL_BANDS) if num_bands is None else num_bands
        return self.make(**values).build(
            num_bands=bands,
            wavelengths_nm=wavelengths_nm(self.strategy.accepts, bands),
            num_classes=num_classes,
            image_size=32,
            weights_path=self.weights_path,
        )

    def batch(self) -> tuple[torch.Tensor, torch.Tensor]:
        """Two images in reflectance's range, labels with unlabelled pixels; or windows with labels of their centres."""
        import torch

        bands = band_count(self.strategy.accepts, USUAL_BANDS)
        if side_px := self.make().window_px:
            return torch.rand(8, bands, side_px, side_px), torch.arange(8).view(8, 1, 1) % NUM_CLASSES
        return torch.rand(2, bands, 17, 22), torch.randint(-1, NUM_CLASSES, (2, 17, 22))


def band_count(accepts: Accepts, wanted: int) -> int:
    """The number of bands nearest to the wanted one that is accepted."""
    return max(min(wanted, accepts.max_bands or wanted), accepts.min_bands)


def wavelengths_nm(accepts: Accepts, num_bands: int) -> list[float]:
    """Evenly spaced band centres inside the accepted range."""
    import numpy as np

    low, high = USUAL_RANGE_NM
    if accepts.wavelength_range_nm:
        narrow = max(low, accepts.wavelength_range_nm[0]), min(high, accepts.wavelength_range_nm[1])
        low, high = narrow if narrow[0] < narrow[1] else accepts.wavelength_range_nm
    centres: list[float] = np.linspace(low, high, num_bands).tolist()
    return centres


@functools.cache
def real_scene() -> tuple[np.ndarray, np.ndarray]:
    """Indian Pines from the installed tensorly: z-scored `[145, 145, 200]` float32, and class index, -1 = unlabelled.

    Raises:
        ContractError: the package is not installed.
    """
    import numpy as np

    found = find_spec("tensorly")
    expect(bool(found and found.submodule_search_locations), "tensorly is not installed; pip install tensorly")
    folder = Path(found.submodule_search_locations[0]) / "datasets" / "data"  # type: ignore[union-attr,index]
    cube = np.load(folder / "Indian_pines_corrected.npy", allow_pickle=False).astype(np.float64)
    labels = np.load(folder / "Indian_pines_gt.npy", allow_pickle=False).astype(np.int64) - 1
    return ((cube - cube.mean((0, 1))) / cube.std((0, 1))).astype(np.float32), labels


def real_bands(accepts: Accepts, wanted: int) -> np.ndarray:
    """Indices of as many evenly spaced bands of the real scene as a strategy takes."""
    import numpy as np

    count = band_count(accepts, wanted)
    # every 8th band for the usual 25; a strategy that wants more than there are sees some of them twice
    return np.linspace(0, 199, count).round().astype(int) if count != 25 else np.arange(0, 200, 8)
