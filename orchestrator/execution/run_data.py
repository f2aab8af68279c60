"""What one run sees of a data set: its labelled samples, its normalised patches and spectra.

Cubes stay memory-mapped and are normalised piece by piece, so a worker holds no copy of a data set.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from orchestrator.datasets.statistics import band_statistics, normalise
from orchestrator.datasets.store import PreparedDataset, open_prepared
from orchestrator.datasets.tasks import Task, draw_task, selection_of_run
from orchestrator.errors import DataError
from orchestrator.execution.model_files import EXAMPLE_SIDE_PX
from orchestrator.execution.normalised_images import NormalisedImages
from orchestrator.execution.pieces import IGNORED, Piece, near_borders, tiles
from orchestrator.execution.streams import stream_seed
from orchestrator.execution.windows_of_pixels import turned
from orchestrator.plan.run_spec import RunSpec

Reader = Callable[[int, slice, slice], np.ndarray]
"""Image, rows and columns to what a model is fed `[h, w, F]`."""
RARE = 0.1
"""Probability of `rare_mirror`."""


@functools.lru_cache(maxsize=4)
def open_store(path: str) -> PreparedDataset:
    """A prepared data set; a resident worker keeps the mapping from run to run."""
    return open_prepared(Path(path))


class RunData(NormalisedImages):
    """The data of one run: task (who trains, validates, tests), statistics, patches and spectra."""

    def __init__(self, spec: RunSpec, prepared_path: str) -> None:
        prepared = open_store(prepared_path)
        if prepared.digest != spec.dataset_digest:
            raise DataError(
                f"{prepared_path} holds data with digest {prepared.digest}; this run is defined on "
                f"{spec.dataset_digest} of {spec.dataset}; the data changed meanwhile: start the sweep again"
            )
        self.task: Task = draw_task(
            prepared,
            split=spec.split,
            fold=spec.fold,
            label_budget=spec.label_budget,
            selection=selection_of_run(spec.selection, spec.stage),
            subset_seed=spec.subset_seed,
        )
        statistics = band_statistics(prepared, self.task, spec.train["normalisation_scope"])
        super().__init__(prepared, str(spec.train["normalisation"]), statistics)
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

    @functools.cached_property
    def labelled_images(self) -> np.ndarray:
        """Indices of the images with training labels."""
        return np.unique(self._samples[:, 0])

    def places(self, indices: np.ndarray) -> np.ndarray:
        """Image, row and column `[n, 3]` of training samples."""
        return self._samples[indices]

    def labelled_windows(
        self, indices: np.ndarray, *, side_px: int, seed: int, augmentation: str
    ) -> tuple[np.ndarray, np.ndarray]:
        """Windows `[n, C, p, p]` around training samples and their labels `[n, 1, 1]`."""
        places = self._samples[indices]
        made = self.windows_at(places, side_px, self.task.train_visible)
        if augmentation != "none":
            generator = np.random.default_rng(seed)
            made = np.stack([turned(window, generator) for window in made])
        labels = [self.task.train_labels[image][row, column] for image, row, column in places]
        return np.ascontiguousarray(made), np.array(labels, dtype=np.int64)[:, None, None]

    def seen(self, image: int, rows: slice, columns: slice) -> np.ndarray:
        """A normalised window `[h, w, C]` in which pixels that training must not see are 0."""
        window = self.normalised(image, rows, columns)
        return window * self.task.train_visible[image][rows, columns, None]

    def whole(
        self, images: np.ndarray, *, seed: int, augmentation: str, read: Reader | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Whole images `[n, C, H, W]` with their training labels, padded to the largest of them.

        Padding is 0 and has no label. What an image consists of is read by `read`, default `seen`.
        """
        generator = np.random.default_rng(seed)
        everything = slice(None)
        pairs = []
        for image in images:
            window = (read or self.seen)(int(image), everything, everything)
            pairs.append(_augmented(window, self.task.train_labels[image], generator, augmentation))
        height, width = (max(labels.shape[axis] for _, labels in pairs) for axis in (0, 1))
        inputs = np.zeros((len(pairs), pairs[0][0].shape[2], height, width), dtype=pairs[0][0].dtype)
        targets = np.full((len(pairs), height, width), IGNORED, dtype=np.int64)
        for number, (window, labels) in enumerate(pairs):
            h, w = labels.shape
            inputs[number, :, :h, :w] = window.transpose(2, 0, 1)
            targets[number, :h, :w] = labels
        return inputs, targets

    def patches(
        self, indices: np.ndarray, *, side: int, seed: int, augmentation: str, read: Reader | None = None
    ) -> tuple[np.ndarray, np.ndarray]:
        """Patches `[n, C, side, side]` around training samples, with every training label that lies in them.

        The sample's place in its patch is drawn at random. What a patch consists of is read by `read`, default `seen`.
        """
        inputs, targets = [], []
        generator = np.random.default_rng(seed)
        for image, row, column in self._samples[indices]:
            height, width = self.task.train_labels[image].shape
            top = _corner(generator, int(row), side, height)
            left = _corner(generator, int(column), side, width)
            rows, columns = slice(top, top + side), slice(left, left + side)
            window = (read or self.seen)(int(image), rows, columns)
            labels = self.task.train_labels[image][rows, columns]
            window, labels = _augmented(window, labels, generator, augmentation)
            inputs.append(np.ascontiguousarray(window.transpose(2, 0, 1)))
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

    def num_units(self, side: str) -> int:
        """Confusion matrices that scoring a side makes: one, or two (border, interior) a test image or block."""
        return 2 * len(self.task.unit_names) if side == "test" else 1

    def units_of(self, image: int) -> np.ndarray:
        """`[H, W]` number of the confusion matrix that a test pixel counts in.

        First the test images or blocks, each with its pixels near a border between classes; then the same with the
        others. What is no test pixel has any number.
        """
        units: np.ndarray = self.task.test_units[image].astype(np.int64)
        inside = ~near_borders(self.prepared.images[image].labels_HW)
        return np.where(inside, units + len(self.task.unit_names), units)

    def pieces(self, side: str) -> Iterator[Piece]:
        """Windows that together cover every label of a side exactly once, large images in overlapping tiles."""
        for image, labels in enumerate(self.labels_of(side)):
            if not (labels != IGNORED).any():
                continue
            units = self.units_of(image)
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
