"""What a data set module hands over: raw images, and the rules of its splits. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from orchestrator.plan.facts import DatasetFacts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from orchestrator.datasets._low_rank import LowRankCube

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
    cube: NDArray[Any] | LowRankCube
    """[H, W, C] in the numbers of the file, dead bands already dropped."""
    labels: NDArray[np.integer[Any]]
    """[H, W], original class ids."""
    valid: NDArray[np.bool_]
    """[H, W], False where the sensor delivered no data."""


@dataclass(frozen=True, kw_only=True)
class ImageSource:
    """One image that is read when its turn comes, so that a set never has to fit into memory."""

    name: str
    stamp: str
    """Names, sizes and times of its files: an interrupted preparation keeps what was made of unchanged files."""
    read: Callable[[], RawImage]


@dataclass(frozen=True, kw_only=True)
class Reading:
    """What a reader of a large set hands over: images to be read one by one, and what it found on the way."""

    images: Sequence[ImageSource]
    folds: tuple[FoldPlan, ...] | None = None
    """Given folds; None leaves them to the definition."""
    notes: tuple[str, ...] = ()
    """What was left out or found odd, in words; kept in the store's manifest."""


@dataclass(frozen=True, kw_only=True)
class Survey:
    """Whether a data set's files are at hand, looked at without opening a cube."""

    definition: Definition
    """As it is for what was found: a folder of generated files has facts of its own."""
    folder: Path | None = None
    """What the reader is given; None where the files are not all there."""
    absent: tuple[str, ...] = ()
    """Files that are lacking."""
    reason: str = ""
    """Why it cannot be used, where naming an absent file does not say it."""


@dataclass(frozen=True, kw_only=True)
class Archive:
    """One archive that holds a whole data set, for `data fetch`."""

    url: str
    folder: str
    """Below the data root: where its content goes."""
    password_variable: str = ""
    """Environment variable that holds its password, where it has one."""
    if_it_fails: str = ""
    """What to do instead."""


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
    read: Callable[[Path], list[RawImage] | Reading]
    """Takes the folder below which the paths of `facts.files` lie, or the one that `survey` found."""
    ignored_ids: tuple[int, ...] = (0,)
    """Ids of the label files that mean: no label."""
    blocks: BlockRule | None = None
    folds: tuple[FoldPlan, ...] | None = None
    """Given folds; None lets an image set be split by balancing its classes."""
    locate: Callable[[], Path | None] | None = None
    """A further folder to look for the files in, for example an installed package."""
    survey: Callable[[Definition, tuple[Path, ...]], Survey] | None = None
    """Looks for the files in the folders given, where a fixed list of paths cannot say what belongs to the set."""
    archive: Archive | None = None
    remedy: str = ""
    """What to do where the files are absent; empty means the fetch command."""
    folder: Path | None = None
    """The only folder to look for the files in: that of a user's YAML file."""
    identity: tuple[str, ...] = ()
    """Paths, sizes and times of a user's own files, so that a changed file is prepared anew."""


def github_file(repository: str, commit: str, path: str) -> str:
    """Address of the raw file at a fixed commit of a public GitHub repository."""
    return f"https://raw.githubusercontent.com/{repository}/{commit}/{quote(path)}"
