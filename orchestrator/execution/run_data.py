"""What one run sees of a data set: its labelled samples, its normalised patches and spectra.

Cubes stay memory-mapped and are normalised piece by piece, so a worker holds no copy of a data set.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.datasets.statistics import BandStatistics, band_statistics, normalise
from orchestrator.datasets.store import PreparedDataset, open_prepared
from orchestrator.datasets.tasks import Task, draw_task
from orchestrator.errors import DataError
from orchestrator.execution.model_files import EXAMPLE_SIDE_PX
from orchestrator.execution.streams import stream_seed
from orchestrator.plan.run_spec import RunSpec

IGNORED = -1
EVALUATION_TILE_PX = 1024
TILE_MARGIN_PX = 64
RARE = 0.1
"""Probability of `rare_mirror`."""


@dataclass(frozen=True)
class Piece:
    """A part of an image to predict: the window to feed and the labels to score in it."""

    image: int
    rows: slice
    columns: slice
    labels_HW: np.ndarray
    """Labels of the window; -1 outside the part that this piece is responsible for."""
    units_HW: np.ndarray


@functools.lru_cache(maxsize=4)
def _open(path: str) -> PreparedDataset:
    return open_prepared(Path(path))  # a resident worker keeps the mapping from run to run


class RunData:
    """The data of one run: task (who trains, validates, tests), statistics, patches and spectra."""

    def __init__(self, spec: RunSpec, prepared_path: str) -> None:
        self.prepared = _open(prepared_path)
        if self.prepared.digest != spec.dataset_digest:
            raise DataError(
                f"{prepared_path} holds data with digest {self.prepared.digest}; this run is defined on "
                f"{spec.dataset_digest} of {spec.dataset}; the data changed meanwhile: start the sweep again"
            )
        # With held-out shots the search validates on some of the k labels; the final run trains on all k of them.
        final_of_shots = spec.stage == "final" and spec.selection == "held_out_shots"
        self.task: Task = draw_task(
            self.prepared,
            split=spec.split,
            fold=spec.fold,
            label_budget=spec.label_budget,
            selection="none" if final_of_shots else spec.selection,
            subset_seed=spec.subset_seed,
        )
        self.mode = str(spec.train["normalisation"])
        self.statistics: BandStatistics = band_statistics(self.prepared, self.task, spec.train["normalisation_scope"])
        self.scale = self.prepared.facts.scale
        self.num_classes = self.prepared.facts.num_classes
        self.has_undefined = bool(spec.train.get("undefined_output", False))
        """Whether networks have one more output, after all classes, for pixels of no class."""
        self._samples = _coordinates(self.task.train_labels)

    @property
    def num_samples(self) -> int:
        """Labelled training pixels."""
        return len(self._samples)

    def class_counts(self) -> list[int]:
        """Training labels of each output."""
        labels = np.concatenate([m[m != IGNORED] for m in self.task.train_labels])
        return np.bincount(labels, minlength=self.num_outputs).tolist()

    @property
    def num_outputs(self) -> int:
        """Channels of a network's logits, and sides of its confusion matrices."""
        return self.num_classes + self.has_undefined

    @property
    def has_validation(self) -> bool:
        return self.task.validation_count > 0

    def normalised(self, image: int, rows: slice, columns: slice) -> np.ndarray:
        """A normalised window, float32 `[h, w, C]`; nodata pixels are 0."""
        source = self.prepared.images[image]
        window = normalise(source.cube_HWC[rows, columns], self.statistics, self.mode, self.scale)
        valid = source.valid_HW[rows, columns]
        return window if valid.all() else np.where(valid[..., None], window, np.float32(0))

    def pixels(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Spectra `[n, C, 1, 1]` and labels `[n, 1, 1]` of training samples."""
        chosen = self._samples[indices]
        spectra = np.empty((len(chosen), self.prepared.facts.num_bands), dtype=np.float32)
        labels = np.empty(len(chosen), dtype=np.int64)
        for image in np.unique(chosen[:, 0]):
            at = chosen[:, 0] == image
            rows, columns = chosen[at, 1], chosen[at, 2]
            raw = self.prepared.images[image].cube_HWC[rows, columns]
            spectra[at] = normalise(raw[None], self.statistics, self.mode, self.scale)[0]
            labels[at] = self.task.train_labels[image][rows, columns]
        return spectra[:, :, None, None], labels[:, None, None]

    @property
    def labelled_images(self) -> np.ndarray:
        """Indices of the images with training labels."""
        return np.unique(self._samples[:, 0])

    def whole(self, images: np.ndarray, *, seed: int, augmentation: str) -> tuple[np.ndarray, np.ndarray]:
        """Whole images `[n, C, H, W]` with their training labels, padded to the largest of them.

        Padding is 0 and has no label; pixels that training must not see are 0.
        """
        generator = np.random.default_rng(seed)
        everything = slice(None)
        pairs = []
        for image in images:
            window = self.normalised(int(image), everything, everything)
            window = window * self.task.train_visible[image][..., None]
            pairs.append(_augmented(window, self.task.train_labels[image], generator, augmentation))
        height, width = (max(labels.shape[axis] for _, labels in pairs) for axis in (0, 1))
        inputs = np.zeros((len(pairs), self.prepared.facts.num_bands, height, width), dtype=np.float32)
        targets = np.full((len(pairs), height, width), IGNORED, dtype=np.int64)
        for number, (window, labels) in enumerate(pairs):
            h, w = labels.shape
            inputs[number, :, :h, :w] = window.transpose(2, 0, 1)
            targets[number, :h, :w] = labels
        return inputs, targets

    def patches(self, indices: np.ndarray, *, side: int, seed: int, augmentation: str) -> tuple[np.ndarray, np.ndarray]:
        """Patches `[n, C, side, side]` around training samples, with every training label that lies in them.

        The sample's place in its patch is drawn at random; pixels that training must not see are 0.
        """
        inputs, targets = [], []
        generator = np.random.default_rng(seed)
        for image, row, column in self._samples[indices]:
            height, width = self.task.train_labels[image].shape
            top = _corner(generator, int(row), side, height)
            left = _corner(generator, int(column), side, width)
            rows, columns = slice(top, top + side), slice(left, left + side)
            window = self.normalised(int(image), rows, columns)
            window = window * self.task.train_visible[image][rows, columns, None]
            labels = self.task.train_labels[image][rows, columns]
            window, labels = _augmented(window, labels, generator, augmentation)
            inputs.append(np.ascontiguousarray(window.transpose(2, 0, 1), dtype=np.float32))
            targets.append(np.ascontiguousarray(labels, dtype=np.int64))
        return np.stack(inputs), np.stack(targets)

    def some_spectra(self, seed: int, limit: int = 4096) -> np.ndarray:
        """Up to `limit` normalised spectra `[n, C]` of pixels that training may see, labelled or not."""
        visible = _coordinates(
            tuple(
                np.where(v & i.valid_HW, 0, IGNORED)
                for v, i in zip(self.task.train_visible, self.prepared.images, strict=True)
            )
        )
        chosen = np.random.default_rng(stream_seed(seed, "some spectra")).permutation(len(visible))[:limit]
        parts = []
        for image in np.unique(visible[chosen, 0]):
            at = visible[chosen][visible[chosen, 0] == image]
            raw = self.prepared.images[image].cube_HWC[at[:, 1], at[:, 2]]
            parts.append(normalise(raw[None], self.statistics, self.mode, self.scale)[0])
        return np.concatenate(parts)

    def example(self) -> np.ndarray:
        """A few pixels around the first training sample `[h, w, C]`, in stored numbers; nodata pixels are 0."""
        image, row, column = (int(value) for value in self._samples[0])
        top, left = max(0, row - EXAMPLE_SIDE_PX // 2), max(0, column - EXAMPLE_SIDE_PX // 2)
        return self.prepared.images[image].cube_HWC[top : top + EXAMPLE_SIDE_PX, left : left + EXAMPLE_SIDE_PX]

    def largest_patch(self, wanted: int) -> int:
        """`wanted`, cut to the smallest image."""
        return min([wanted, *(min(i.labels_HW.shape) for i in self.prepared.images)])

    def labels_of(self, side: str) -> tuple[np.ndarray, ...]:
        """Label maps of "validation" or "test"."""
        return self.task.validation_labels if side == "validation" else self.task.test_labels

    def pieces(self, side: str) -> Iterator[Piece]:
        """Windows that together cover every label of a side exactly once, large images in overlapping tiles."""
        for image, labels in enumerate(self.labels_of(side)):
            if not (labels != IGNORED).any():
                continue
            units = self.task.test_units[image]
            for rows, core_rows in tiles(labels.shape[0]):
                for columns, core_columns in tiles(labels.shape[1]):
                    owned = np.full(labels.shape, IGNORED, dtype=np.int64)
                    owned[core_rows, core_columns] = labels[core_rows, core_columns]
                    window = owned[rows, columns]
                    if (window != IGNORED).any():
                        yield Piece(
                            image=image, rows=rows, columns=columns, labels_HW=window, units_HW=units[rows, columns]
                        )


def _coordinates(maps: tuple[np.ndarray, ...]) -> np.ndarray:
    """`[n, 3]` of image, row, column of every used pixel, in a fixed order."""
    found = [
        np.column_stack([np.full(np.count_nonzero(m != IGNORED), i), np.argwhere(m != IGNORED)])
        for i, m in enumerate(maps)
    ]
    return np.concatenate(found).astype(np.int64)


def _corner(generator: np.random.Generator, centre: int, side: int, size: int) -> int:
    low, high = max(0, centre - side + 1), min(centre, size - side)
    return int(generator.integers(low, max(low, high) + 1))


def _augmented(
    window: np.ndarray, labels: np.ndarray, generator: np.random.Generator, augmentation: str
) -> tuple[np.ndarray, np.ndarray]:
    if augmentation == "none":
        return window, labels
    if augmentation == "rare_mirror":
        return (window[:, ::-1], labels[:, ::-1]) if generator.random() < RARE else (window, labels)
    turns, mirrored = int(generator.integers(4)), bool(generator.integers(2))
    window, labels = np.rot90(window, turns), np.rot90(labels, turns)
    return (window[:, ::-1], labels[:, ::-1]) if mirrored else (window, labels)


def tiles(size: int) -> Iterator[tuple[slice, slice]]:
    """(window, core) pairs along one axis: cores partition the axis, windows add a margin of context."""
    if size <= EVALUATION_TILE_PX:
        yield slice(0, size), slice(0, size)
        return
    step = EVALUATION_TILE_PX - 2 * TILE_MARGIN_PX
    for start in range(0, size, step):
        end = min(start + step, size)
        yield slice(max(0, start - TILE_MARGIN_PX), min(size, end + TILE_MARGIN_PX)), slice(start, end)


def model_facts(data: RunData, spec: RunSpec) -> dict[str, Any]:
    """What a saved model needs beside its weights to predict on a raw cube: bands, classes, normalisation."""
    facts = data.prepared.facts
    return {
        "strategy": spec.strategy,
        "fields": dict(spec.fields),
        "key": spec.key,
        "num_bands": facts.num_bands,
        "wavelengths_nm": facts.wavelengths_nm,
        "quantity": facts.quantity,
        "scale": facts.scale,
        "dataset": facts.name,
        "dataset_digest": data.prepared.digest,
        "class_names": facts.class_names,
        "class_ids": facts.class_ids,
        "normalisation": data.mode,
        "dropped_bands": facts.dropped_bands,
        "statistics": {
            name: getattr(data.statistics, name).tolist() for name in ("mean_C", "std_C", "minimum_C", "maximum_C")
        },
        "example_HWC": data.example(),
        **({"undefined_output": True} if data.has_undefined else {}),
    }
