"""Facts about a data set in plain data: what planning needs to know without opening a cube."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Quantity = Literal["toa_reflectance", "surface_reflectance", "radiance", "raw"]
SplitKind = Literal["block", "random", "images"]


@dataclass(frozen=True, kw_only=True)
class SourceFile:
    """One original file: path below the data root, checksum, public address."""

    path: str
    sha256: str | None = None
    url: str | None = None


@dataclass(frozen=True, kw_only=True)
class DatasetFacts:
    """A data set's datasheet."""

    name: str
    title: str
    """One line for lists."""
    num_bands: int
    """Bands that are used, after dead ones were dropped."""
    wavelengths_nm: tuple[float, ...] | None
    """Band centres in the order of the cube, or None where unknown."""
    fwhm_nm: tuple[float, ...] | None = None
    wavelengths_provenance: str = ""
    """Where the band centres come from, or why they are unknown."""
    dropped_bands: tuple[int, ...] = ()
    """0-based bands of the original file that are never used."""
    quantity: Quantity
    scale: float = 1.0
    """Stored number divided by this is the physical quantity (10000 for reflectance x 10000)."""
    class_names: tuple[str, ...]
    """Scored classes, in the order of the contiguous class index."""
    class_ids: tuple[int, ...]
    """Ids in the original label files, same order."""
    class_colours: tuple[str, ...] = ()
    """Of the scored classes in pictures, as "#rrggbb", same order; empty = chosen by the tool. Part of no key."""
    headline_classes: tuple[str, ...] | None = None
    """Classes of the headline score where it is not all of them."""
    domain: Literal["remote", "proximal"]
    sensor: str
    region: str = ""
    scene: str = ""
    """The place that the pixels show, where other data sets show it too (salinas_a is a corner of salinas): such data
    sets never choose hyperparameters for each other. Empty = a place of its own. Part of no key."""
    labels: Literal["human", "derived", "generated", "none"] = "human"
    """derived = from a model (unmixing): never in aggregates or tests of significance. generated = the files were made
    by `data imitate`: cubes and labels alike are inventions. none = cubes to predict on, nothing to train or score."""
    task: Literal["scene", "images"]
    """One large image, or a set of images."""
    image_size_px: tuple[int, int]
    """Height and width of the (largest) image."""
    num_images: int = 1
    train_images: int = 0
    """Images of the training split; 0 for single scenes, and where folds deal the images."""
    labelled_pixels: int = 0
    split: SplitKind
    """The data set's own split."""
    folds: int = 1
    """Cross-validation folds; final seed s uses fold s modulo this number."""
    reader_version: int = 1
    """Raised by hand when a change of the reader alters numbers."""
    files: tuple[SourceFile, ...] = ()
    citation: str = ""
    licence: str = ""
    notes: tuple[str, ...] = ()
    """What a reader must know beside all this, in sentences; no part of the data set's identity."""

    @property
    def num_classes(self) -> int:
        return len(self.class_names)

    @property
    def place(self) -> str:
        """What the pixels show: the same text for data sets that share pixels."""
        return self.scene or self.name


@dataclass(frozen=True, kw_only=True)
class DatasetStatus:
    """Whether a data set can be used now, and what to do where it cannot."""

    facts: DatasetFacts
    digest: str | None = None
    """First 16 hex of the SHA-256 of content, labels, splits and reader version; None until prepared."""
    files_present: bool = False
    reason: str = ""
    """Why it cannot be used."""
    remedy: str = ""
    """The command that mends it."""


@dataclass(frozen=True, kw_only=True)
class WeightsStatus:
    """Whether a strategy's pretrained weights are at hand."""

    name: str
    sha256: str | None = None
    """The published checksum; it is in the key, so it is known whether the file is there or not."""
    path: str | None = None
    """The file; None where it is absent or damaged."""
    reason: str = ""
    remedy: str = ""
