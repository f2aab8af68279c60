"""The `.hsd` files of HyperspectralCity v2: a mean spectrum, a few coefficient spectra, and scores a pixel."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.errors import DataError

if TYPE_CHECKING:
    from orchestrator.datasets._low_rank import LowRankCube

HEADER = struct.Struct("<5i f i")
"""Height, width, bands, rank, first wavelength, step, last wavelength (nm); little endian."""


@dataclass(frozen=True, kw_only=True)
class HsdHeader:
    """What the first 28 bytes say."""

    height: int
    width: int
    bands: int
    rank: int
    """Scores a pixel."""
    start_nm: int
    step_nm: float
    end_nm: int

    @property
    def size_bytes(self) -> int:
        """Of the whole file."""
        return HEADER.size + 4 * (self.bands + self.rank * self.bands + self.height * self.width * self.rank)

    @property
    def wavelengths_nm(self) -> tuple[float, ...]:
        return tuple(self.start_nm + self.step_nm * band for band in range(self.bands))


def read_header(file: Path) -> HsdHeader:
    """The header of a file.

    Raises:
        DataError: no such header, or the file is shorter than its header says.
    """
    with file.open("rb") as handle:
        content = handle.read(HEADER.size)
    found = file.stat().st_size
    if len(content) < HEADER.size:
        raise DataError(f"{file} has {found} bytes, the header alone has {HEADER.size}; get the file again")
    names = ("height", "width", "bands", "rank", "start_nm", "step_nm", "end_nm")
    header = HsdHeader(**dict(zip(names, HEADER.unpack(content), strict=True)))
    if min(header.height, header.width, header.bands, header.rank) < 1:
        raise DataError(
            f"{file} states {header.height} x {header.width} px, {header.bands} bands and rank {header.rank}; all are "
            "at least 1 in an .hsd file: it is damaged or of another format; get it again"
        )
    if found < header.size_bytes:
        raise DataError(
            f"{file} has {found} bytes, its header promises {header.size_bytes} ({header.height} x {header.width} px, "
            f"rank {header.rank}); it was cut short: get it again"
        )
    return header


def half(size: int) -> int:
    """Pixels that are left of an axis at half resolution: rounded, and to even where both are as near.

    1422 rows give 711, and 1889 columns 944: the last one is dropped, as with OpenCV's nearest neighbour.
    """
    return round(size / 2)


def read_hsd(file: Path, *, half_resolution: bool = False) -> LowRankCube:
    """The cube as scores and coefficients; every second row and column of the scores at half resolution.

    Raises:
        DataError: see `read_header`.
    """
    import numpy as np

    from orchestrator.datasets._low_rank import LowRankCube

    header = read_header(file)
    numbers = np.memmap(file, dtype="<f4", mode="r", offset=HEADER.size, shape=(header.size_bytes - HEADER.size) // 4)
    first, second = header.bands, header.bands * (1 + header.rank)
    scores = numbers[second:].reshape(header.height, header.width, header.rank)
    if half_resolution:
        scores = halved(scores)
    coefficients = np.array(numbers[first:second], dtype=np.float32).reshape(header.rank, header.bands)
    return LowRankCube(np.ascontiguousarray(scores, dtype=np.float32), coefficients, np.array(numbers[:first]))


def halved(array_HW: Any) -> Any:
    """Every second row and column."""
    height, width = (half(size) for size in array_HW.shape[:2])
    return array_HW[: 2 * height : 2, : 2 * width : 2]
