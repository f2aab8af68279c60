"""A label map beside the truth, for every pixel of an image: what was predicted, and what the pixel was to the run.

Images are predicted in the windows in which a run is scored, so that its test pixels are counted as they were.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, overload

import numpy as np
from numpy.typing import NDArray

from orchestrator.datasets.store import PreparedImage
from orchestrator.datasets.tasks import Task
from orchestrator.errors import unknown
from orchestrator.metrics import confusion_matrix

if TYPE_CHECKING:
    from orchestrator.execution.saved_model import SavedModel

SIDES = ("ignored", "train", "validation", "test")
"""What a pixel was to the run; its place here is its number in `side_HW`."""


@dataclass(frozen=True, kw_only=True, eq=False)
class ImagePrediction:
    """One image of the data set; all maps have its height and width."""

    name: str
    labels_HW: NDArray[np.int64]
    """Class index that the model says; -1 where the sensor delivered no data or the model says "no class"."""
    target_HW: NDArray[np.int16]
    """True class index; -1 where the pixel has no label."""
    side_HW: NDArray[np.int8]
    """Index into `SIDES`: 0 ignored (unlabelled, in a buffer, or not drawn), 1 train, 2 validation, 3 test."""
    class_names: tuple[str, ...]
    has_undefined: bool = False
    """Whether the model was trained with one more output, for pixels of no class."""

    def mask(self, side: str) -> NDArray[np.bool_]:
        """Pixels of a side, bool `[H, W]`.

        Raises:
            ConfigError: a side that is none of `SIDES`.
        """
        if side not in SIDES:
            raise unknown("side", side, SIDES)
        return self.side_HW == SIDES.index(side)

    def confusion(self, side: str = "test") -> NDArray[np.int64]:
        """Counts `[K, K]` of the image's pixels on a side, rows = target.

        With `has_undefined` they are `[K + 1, K + 1]`: the last column counts pixels that were given no class.
        """
        return self.count(self.mask(side))

    def count(self, chosen_HW: NDArray[np.bool_]) -> NDArray[np.int64]:
        """Counts of the labelled pixels among the chosen ones; see `confusion`."""
        labelled_HW = chosen_HW & (self.target_HW >= 0)
        classes = len(self.class_names)
        predicted_N = self.labels_HW[labelled_HW]
        predicted_N = np.where(predicted_N < 0, classes, predicted_N)
        return confusion_matrix(self.target_HW[labelled_HW], predicted_N, classes + self.has_undefined)


@dataclass(frozen=True, kw_only=True, eq=False)
class Predictions(Sequence[ImagePrediction]):
    """The images of a data set as a final run predicts them; a sequence of `ImagePrediction`."""

    key: str
    """Of the final run."""
    cell_name: str
    seed: int
    dataset: str
    class_names: tuple[str, ...]
    images: tuple[ImagePrediction, ...]
    differing_pixels: int | None
    """Test pixels that the stored confusion matrices count otherwise: 0 = full agreement; None = none are stored."""

    @overload
    def __getitem__(self, index: int) -> ImagePrediction: ...

    @overload
    def __getitem__(self, index: slice) -> tuple[ImagePrediction, ...]: ...

    def __getitem__(self, index: int | slice) -> ImagePrediction | tuple[ImagePrediction, ...]:
        return self.images[index]

    def __len__(self) -> int:
        return len(self.images)

    def __iter__(self) -> Iterator[ImagePrediction]:
        return iter(self.images)

    def confusion(self, side: str = "test") -> NDArray[np.int64]:
        """Counts `[K, K]` over all images, rows = target."""
        parts = [image.confusion(side) for image in self.images]
        return np.sum(parts, axis=0, dtype=np.int64)

    def __repr__(self) -> str:
        agreement = {None: "nothing stored to compare with", 0: "test counts as stored"}.get(
            self.differing_pixels, f"{self.differing_pixels} test pixels differ from the stored counts"
        )
        return f"<Predictions of {self.cell_name}, seed {self.seed}: {len(self)} images, {agreement}>"


def predict_image(
    saved: SavedModel, image: PreparedImage, task: Task, index: int, class_names: tuple[str, ...]
) -> ImagePrediction:
    """Predict one image of a data set.

    Args:
        saved: the model of a final run.
        image: raw numbers, labels and which pixels hold data.
        task: the sides of the run.
        index: place of the image in the data set.
        class_names: of the data set.
    """
    height, width = image.labels_HW.shape
    labels_HW = np.empty((height, width), dtype=np.int64)
    strips = saved.predict_strips(lambda r, c: (image.cube_HWC[r, c], image.valid_HW[r, c]), height, width)
    for rows, strip_HW, _ in strips:
        labels_HW[rows] = strip_HW
    labels_HW[~image.valid_HW] = -1
    side_HW = np.zeros((height, width), dtype=np.int8)
    drawn = (task.train_labels[index], task.validation_labels[index], task.test_labels[index])
    for number, used_HW in enumerate(drawn, start=1):
        side_HW[used_HW >= 0] = number
    return ImagePrediction(
        name=image.name,
        labels_HW=labels_HW,
        target_HW=np.array(image.labels_HW),
        side_HW=side_HW,
        class_names=class_names,
        has_undefined=bool(saved.facts.get("undefined_output")),
    )
