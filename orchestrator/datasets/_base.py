"""What a data set module hands over: raw images, and the rules of its splits. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrator.plan.facts import DatasetFacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

TRAIN, VALIDATION, TEST, NO_SIDE = 0, 1, 2, -1
SIDE_NAMES = ("train", "validation", "test")
UNLABELLED = -1
"""Class index of a pixel that has no label, or whose label is ignored."""

Progress = Callable[[str, int, "int | None"], None]
"""Called with what is worked on, how much is done and, where known, how much there is."""


@dataclass(frozen=True, kw_only=True)
class RawImage:
    """One image as its files hold it."""

    name: str
    cube: NDArray[Any]
    """[H, W, C] in the numbers of the file, dead bands already dropped."""
    labels: NDArray[np.integer[Any]]
    """[H, W], original class ids."""
    valid: NDArray[np.bool_]
    """[H, W], False where the sensor delivered no data."""


@dataclass(frozen=True, kw_only=True)
class BlockRule:
    """How a scene is cut into blocks that are dealt to the three sides."""

    side_px: int
    """Side of a block."""
    buffer_px: int
    """Fewest unused pixels between two pixels of different sides."""
    shares: tuple[float, float, float] = (0.4, 0.2, 0.4)
    """Aim for the shares of labelled pixels in train, validation and test."""


@dataclass(frozen=True, kw_only=True)
class FoldPlan:
    """Image names on each side of one fold."""

    train: tuple[str, ...]
    validation: tuple[str, ...]
    test: tuple[str, ...]


@dataclass(frozen=True, kw_only=True)
class Definition:
    """A data set, packaged or a user's own, ready to be read."""

    facts: DatasetFacts
    read: Callable[[Path], list[RawImage]]
    """Takes the folder below which the paths of `facts.files` lie."""
    ignored_ids: tuple[int, ...] = (0,)
    """Ids of the label files that mean: no label."""
    blocks: BlockRule | None = None
    folds: tuple[FoldPlan, ...] | None = None
    """Given folds; None lets an image set be split by balancing its classes."""
    locate: Callable[[], Path | None] | None = None
    """A further folder to look for the files in, for example an installed package."""
    remedy: str = ""
    """What to do where the files are absent; empty means the fetch command."""
    folder: Path | None = None
    """The only folder to look for the files in: that of a user's YAML file."""
    identity: tuple[str, ...] = ()
    """Paths, sizes and times of a user's own files, so that a changed file is prepared anew."""


def github_file(repository: str, commit: str, path: str) -> str:
    """Address of the raw file at a fixed commit of a public GitHub repository."""
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{quote(path)}"
