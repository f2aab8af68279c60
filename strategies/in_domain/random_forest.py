"""Random forest on single spectra: the classical baseline of the field that needs the least tuning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from strategies import estimators
from strategies._base import Categorical, Distribution, Int, Strategy, check_range


@dataclass(frozen=True, kw_only=True)
class RandomForest(Strategy):
    """Random forest (Breiman 2001; scikit-learn), each pixel on its own."""

    trees: int = 500
    """Trees, each on its own draw of the training pixels with replacement."""
    features_per_split: Literal["sqrt", "log2", "all"] = "sqrt"
    """Bands that a split chooses from: the root or the logarithm of their number, or all of them."""
    min_leaf: int = 1
    """Fewest training pixels in a leaf."""

    summary: ClassVar[str] = "random forest of 500 trees on single spectra"
    kind: ClassVar[Literal["network", "estimator"]] = "estimator"
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "features_per_split": Categorical(("sqrt", "log2", "all")),
        "min_leaf": Int(1, 5),
    }
    contract_fields: ClassVar[Mapping[str, Any]] = {"trees": 30}
    reference_step_s: ClassVar[float] = 1.0

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("trees", self.trees, 1, 100_000)
        check_range("min_leaf", self.min_leaf, 1, 10_000)

    @property
    def receptive_field_px(self) -> int:
        return 1

    def features(self, cube_HWC: np.ndarray, visible_HW: np.ndarray) -> np.ndarray:
        """The spectra themselves; 0 where a pixel is not visible."""
        return np.where(visible_HW[..., None], cube_HWC, 0).astype(np.float32, copy=False)

    def fit(self, features_NF: np.ndarray, labels_N: np.ndarray, *, seed: int) -> Any:
        """A fitted `sklearn.ensemble.RandomForestClassifier`; `seed` draws pixels and bands."""
        from sklearn.ensemble import RandomForestClassifier

        estimators.check_training_set(features_NF, labels_N)
        forest = RandomForestClassifier(
            n_estimators=self.trees,
            max_features=None if self.features_per_split == "all" else self.features_per_split,
            min_samples_leaf=self.min_leaf,
            random_state=seed,
            n_jobs=1,
        )
        return estimators.fit(forest, features_NF, labels_N)

    def predict(self, model: Any, features_NF: np.ndarray) -> np.ndarray:
        """Class index of each row."""
        predicted: np.ndarray = model.predict(features_NF)
        return predicted


STRATEGY = RandomForest
