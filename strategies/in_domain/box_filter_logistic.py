"""Mean spectrum of a window around each pixel, then logistic regression: the plainest spectral-spatial baseline.

On random splits of one scene its windows reach into the test pixels' surroundings, which is worth 12 to 20 points of
overall accuracy; every comparison needs it to show what a spatial model gains by that alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from strategies import estimators
from strategies._base import Distribution, Float, Strategy, check_range

# the usual choice first: the first one of equals is taken
C_GRID = (1.0, 10.0, 0.1, 100.0, 0.01)
BANDS_AT_ONCE = 64


@dataclass(frozen=True, kw_only=True)
class BoxFilterLogistic(Strategy):
    """Multinomial logistic regression (scikit-learn) on the mean over the visible pixels of a square window."""

    tuning: Literal["given", "cross_validation"] = "given"
    """given: `C` as it is. cross_validation: chosen on the training labels, `C` unused."""
    C: float = 1.0
    """Inverse strength of the L2 penalty."""
    radius_px: int = 4
    """The window has a side of 2 x radius + 1 pixels."""

    summary: ClassVar[str] = "logistic regression on the mean spectrum of a 9x9 window"
    kind: ClassVar[Literal["network", "estimator"]] = "estimator"
    search_space: ClassVar[Mapping[str, Distribution]] = {"C": Float(0.01, 100.0, log=True)}
    reference_step_s: ClassVar[float] = 0.2

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("C", self.C, 1e-9, 1e9)
        check_range("radius_px", self.radius_px, 0, 256)

    @property
    def receptive_field_px(self) -> int:
        return 2 * self.radius_px + 1

    def space(self) -> Mapping[str, Distribution]:
        return {} if self.tuning == "cross_validation" else self.search_space

    def features(self, cube_HWC: np.ndarray, visible_HW: np.ndarray) -> np.ndarray:
        """Mean over the visible pixels of each window; 0 where there is none."""
        counts_HW1 = _window_sum(visible_HW[..., None].astype(np.float32), self.radius_px)
        means = np.empty(cube_HWC.shape, dtype=np.float32)
        for first in range(0, cube_HWC.shape[2], BANDS_AT_ONCE):
            bands = slice(first, first + BANDS_AT_ONCE)
            # a masked pixel may hold NaN, which a product with 0 would not remove
            visible = np.where(visible_HW[..., None], cube_HWC[..., bands], 0).astype(np.float32, copy=False)
            means[..., bands] = _window_sum(visible, self.radius_px) / np.maximum(counts_HW1, 1)
        return means

    def fit(self, features_NF: np.ndarray, labels_N: np.ndarray, *, seed: int) -> Any:
        """A fitted `sklearn.linear_model.LogisticRegression`; `seed` deals the folds of the cross-validation."""
        estimators.check_training_set(features_NF, labels_N)
        values: Mapping[str, Any] = {"C": self.C}
        if self.tuning == "cross_validation":
            values = estimators.choose([{"C": C} for C in C_GRID], _make, features_NF, labels_N, seed=seed) or values
        return estimators.fit(_make(values), features_NF, labels_N)

    def predict(self, model: Any, features_NF: np.ndarray) -> np.ndarray:
        """Class index of each row."""
        predicted: np.ndarray = model.predict(features_NF)
        return predicted


def _window_sum(values_HWC: np.ndarray, radius_px: int) -> np.ndarray:
    """Sum over a square window, nothing beyond the border; added up term by term, so that far pixels have no effect."""
    for axis in (0, 1):
        size = values_HWC.shape[axis]
        total = values_HWC.copy()
        for shift in range(1, min(radius_px, size - 1) + 1):
            low, high = [slice(None)] * 3, [slice(None)] * 3
            low[axis], high[axis] = slice(0, size - shift), slice(shift, size)
            total[tuple(low)] += values_HWC[tuple(high)]
            total[tuple(high)] += values_HWC[tuple(low)]
        values_HWC = total
    return values_HWC


def _make(values: Mapping[str, Any]) -> Any:
    from sklearn.linear_model import LogisticRegression

    return LogisticRegression(max_iter=2000, **values)


STRATEGY = BoxFilterLogistic
