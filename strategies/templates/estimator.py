"""SUMMARY.

CHANGE marks the places that are yours: hyperparameters, what is tuned, the features and the classifier. After a change
run `hsfm-sweep strategy check`: it says what the contract still misses.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from strategies._base import Accepts, Distribution, Int, Strategy, check_range
from strategies.estimators import check_training_set, fit


@dataclass(frozen=True, kw_only=True)
class NearestPixels(Strategy):
    """K nearest neighbours (scikit-learn) among the training spectra, each pixel on its own."""

    # CHANGE: hyperparameters with their defaults. They can be fixed in a grid: {name: ..., neighbours: 1}
    neighbours: int = 3
    """How many training pixels vote."""

    summary: ClassVar[str] = "SUMMARY"
    kind: ClassVar[Literal["network", "estimator"]] = "estimator"
    # CHANGE: at most four of the fields are tuned; every default lies inside, and is what trial 0 tries.
    search_space: ClassVar[Mapping[str, Distribution]] = {"neighbours": Int(1, 15, log=True)}
    # CHANGE: what data it takes, for example Accepts(min_bands=8, needs_wavelengths=True)
    accepts: ClassVar[Accepts] = Accepts()
    # Raise it whenever a change alters numbers: old runs then count as another strategy.
    implementation_version: ClassVar[int] = 1
    reference_step_s: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("neighbours", self.neighbours, 1, 1000)

    @property
    def receptive_field_px(self) -> int:
        # CHANGE with the features: 1 = a pixel on its own. The audit of the split relies on it.
        return 1

    def features(self, cube_HWC: np.ndarray, visible_HW: np.ndarray) -> np.ndarray:
        """What is known of each pixel, [height, width, features]; here its spectrum, 0 where it is not visible."""
        # CHANGE: but never use a pixel that is not visible; it may hold NaN, and belongs to another side.
        return np.where(visible_HW[..., None], cube_HWC, 0).astype(np.float32, copy=False)

    def fit(self, features_NF: np.ndarray, labels_N: np.ndarray, *, seed: int) -> Any:  # noqa: ARG002 - nothing is drawn
        """A fitted classifier; hand `seed` to everything that draws random numbers."""
        # scikit-learn takes long to import, and planning imports this file
        from sklearn.neighbors import KNeighborsClassifier

        check_training_set(features_NF, labels_N)
        # CHANGE: any scikit-learn classifier. `fit` takes care of training sets with a single class.
        classifier = KNeighborsClassifier(n_neighbors=min(self.neighbours, len(labels_N)), weights="distance")
        return fit(classifier, features_NF, labels_N)

    def predict(self, model: Any, features_NF: np.ndarray) -> np.ndarray:
        """Class index of each row."""
        predicted: np.ndarray = model.predict(features_NF)
        return predicted


STRATEGY = NearestPixels
