"""From the bands of any data set to a fixed number of common bands, so that one encoder fits them all.

`resample` and `pool` are matrices made of the list of bands alone: nothing is learned, and pretrained weights apply to
a new sensor as they are. `mapping` is a learned 1x1 convolution with BatchNorm of one data set (as the code of
DCFSL does, Li-ZK/DCFSL-2021): a part of the domain, never of what is handed on.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn

from strategies._base import StrategyError

Adapter = Literal["resample", "pool", "mapping"]


class CommonGrid(NamedTuple):
    """The common bands."""

    num_bands: int
    group_bands: int
    """Neighbouring common bands in one spectral token."""
    low_nm: float
    high_nm: float


class BandAdapter(nn.Module):
    """Maps `[N, C, ...]` to common bands `[N, C0, ...]` by a fixed matrix."""

    def __init__(self, matrix_KC: Tensor, present_K: Tensor, group_bands: int) -> None:
        super().__init__()
        self.bands_used = int((matrix_KC != 0).any(0).sum())
        """Bands that some common band is made of."""
        self.group_bands = group_bands
        # in the state dict: the grid may be that of a pretraining, which a saved model knows nothing else of
        self.register_buffer("matrix_KC", matrix_KC.float())
        self.register_buffer("present_K", present_K)

    @property
    def groups(self) -> Tensor:
        """Numbers of the groups of common bands that the data set has."""
        return groups_of(self.present_K, self.group_bands)  # type: ignore[arg-type]

    def forward(self, x_NCpp: Tensor) -> Tensor:
        """Common bands; 0 where the data set has nothing to say."""
        matrix: Tensor = self.matrix_KC  # type: ignore[assignment]
        common_NKP = torch.matmul(matrix.to(x_NCpp), x_NCpp.flatten(2))
        return common_NKP.view(*common_NKP.shape[:2], *x_NCpp.shape[2:])


class BandMapping(nn.Module):
    """Maps `[N, C, h, w]` to `[N, C0, h, w]` by a learned 1x1 convolution with BatchNorm."""

    def __init__(self, num_bands: int, common_bands: int, group_bands: int) -> None:
        super().__init__()
        self.map = nn.Conv2d(num_bands, common_bands, kernel_size=1, bias=False)
        self.norm = nn.BatchNorm2d(common_bands)
        everything = torch.ones(common_bands, dtype=torch.bool)
        self.register_buffer("present_K", everything, persistent=False)
        self.register_buffer("groups", groups_of(everything, group_bands), persistent=False)

    def forward(self, x_NChw: Tensor) -> Tensor:
        """Common bands."""
        common: Tensor = self.norm(self.map(x_NChw))
        return common


def make_adapter(
    kind: Adapter, grid: CommonGrid, num_bands: int, wavelengths_nm: Sequence[float] | None, *, on_wavelengths: bool
) -> BandAdapter | BandMapping:
    """The adapter of one data set.

    Args:
        kind: see the module.
        grid: the common bands.
        num_bands: bands of the data set.
        wavelengths_nm: band centres in nm in the order of the cube, any order; None where unknown.
        on_wavelengths: whether the common bands are a grid of wavelengths (resample only), else of band numbers.

    Raises:
        StrategyError: wavelengths are asked for and unknown, or none of them lies on the grid.
    """
    if kind == "mapping":
        return BandMapping(num_bands, grid.num_bands, grid.group_bands)
    order = sorted_bands(num_bands, wavelengths_nm)
    if kind == "pool":
        matrix, present = pooling_matrix(order, grid.num_bands)
    elif not on_wavelengths:
        matrix, present = index_matrix(order, grid.num_bands)
    elif wavelengths_nm is None:
        raise StrategyError(
            f"wavelengths are unknown, but the common bands are {grid.low_nm:g} to {grid.high_nm:g} nm; "
            "give wavelengths_nm, or set grid: index in pretraining and here"
        )
    else:
        matrix, present = wavelength_matrix(wavelengths_nm, grid)
    return BandAdapter(matrix, present, grid.group_bands)


def sorted_bands(num_bands: int, wavelengths_nm: Sequence[float] | None) -> list[int]:
    """Bands in the order of wavelength where it is known: mosaics and overlapping spectrometers store another one."""
    bands = range(num_bands)
    return list(bands) if wavelengths_nm is None else sorted(bands, key=lambda band: wavelengths_nm[band])


def groups_of(present_K: Tensor, group_bands: int) -> Tensor:
    """Numbers of the groups of neighbouring common bands in which at least one band is present."""
    return torch.nonzero(present_K.view(-1, group_bands).any(1)).flatten()


def wavelength_matrix(wavelengths_nm: Sequence[float], grid: CommonGrid) -> tuple[Tensor, Tensor]:
    """Linear interpolation to evenly spaced wavelengths, `[C0, C]`, and which of them the bands reach, `[C0]`.

    A grid point within half a step of the outermost bands takes their value; one beyond is not present, and 0.

    Raises:
        StrategyError: no grid point is reached.
    """
    centres_K = torch.linspace(grid.low_nm, grid.high_nm, grid.num_bands, dtype=torch.float64)
    known = sorted(wavelengths_nm)
    half_step = (grid.high_nm - grid.low_nm) / max(1, grid.num_bands - 1) / 2
    present_K = (centres_K >= known[0] - half_step) & (centres_K <= known[-1] + half_step)
    if not bool(present_K.any()):
        raise StrategyError(
            f"bands from {known[0]:g} to {known[-1]:g} nm lie outside of the common bands, {grid.low_nm:g} to "
            f"{grid.high_nm:g} nm; give wavelengths in nm, or widen grid_low_nm and grid_high_nm"
        )
    order = sorted_bands(len(known), wavelengths_nm)
    matrix = _interpolation(torch.tensor(known, dtype=torch.float64), centres_K, order)
    return matrix * present_K[:, None], present_K


def index_matrix(order: list[int], num_common: int) -> tuple[Tensor, Tensor]:
    """Linear interpolation along the number of the band in its order, `[C0, C]`; everything is present."""
    places_C = torch.arange(len(order), dtype=torch.float64)
    wanted_K = torch.linspace(0, len(order) - 1, num_common, dtype=torch.float64)
    return _interpolation(places_C, wanted_K, order), torch.ones(num_common, dtype=torch.bool)


def pooling_matrix(order: list[int], num_common: int) -> tuple[Tensor, Tensor]:
    """Means of neighbouring bands, `[C0, C]`, cut as `AdaptiveAvgPool1d` does; fewer bands are repeated."""
    bands = len(order)
    matrix = torch.zeros(num_common, bands, dtype=torch.float64)
    for common in range(num_common):
        first, end = common * bands // num_common, -(-(common + 1) * bands // num_common)
        matrix[common, order[first:end]] = 1 / (end - first)
    return matrix, torch.ones(num_common, dtype=torch.bool)


def _interpolation(places_C: Tensor, wanted_K: Tensor, order: list[int]) -> Tensor:
    """Weights `[K, C]` in the cube's order, of bands at ascending `places_C`, some of which may coincide."""
    wanted = wanted_K.clamp(places_C[0], places_C[-1])
    above = torch.searchsorted(places_C, wanted).clamp(1, max(1, len(places_C) - 1))
    matrix = torch.zeros(len(wanted), len(places_C), dtype=torch.float64)
    if len(places_C) == 1:
        return matrix + 1
    below = above - 1
    gap = places_C[above] - places_C[below]
    share = torch.where(gap > 0, (wanted - places_C[below]) / gap.clamp_min(1e-12), torch.full_like(gap, 0.5))
    rows, bands = torch.arange(len(wanted)), torch.tensor(order)
    matrix[rows, bands[below]] = 1 - share
    matrix[rows, bands[above]] += share
    return matrix
