"""Support vector machine with a Gaussian kernel on single spectra: the classical baseline of the field."""

from __future__ import annotations

import itertools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from strategies import estimators
from strategies._base import Categorical, Distribution, Float, Strategy, StrategyError, check_range

# the usual choice first: with few labels many candidates are equally good, and the first one of equals is taken
C_GRID = (100.0, 1000.0, 10.0, 1.0)
GAMMA_GRID = ("scale", 1e-3, 1e-2, 1e-4)


@dataclass(frozen=True, kw_only=True)
class SvmRbf(Strategy):
    """SVM with RBF kernel (scikit-learn), one-against-one, each pixel on its own."""

    tuning: Literal["given", "cross_validation"] = "given"
    """given: `C` and `gamma` as they are. cross_validation: chosen on the training labels, `C` and `gamma` unused."""
    C: float = 100.0
    """Penalty of a training error."""
    gamma: float | str = "scale"
    """Inverse squared width of the kernel; "scale" = 1 / (number of features x their variance)."""

    summary: ClassVar[str] = "support vector machine with RBF kernel on single spectra"
    kind: ClassVar[Literal["network", "estimator"]] = "estimator"
    search_space: ClassVar[Mapping[str, Distribution]] = {
        "C": Float(1.0, 1000.0, log=True),
        "gamma": Categorical(GAMMA_GRID),
    }
    reference_step_s: ClassVar[float] = 0.1

    def __post_init__(self) -> None:
        super().__post_init__()
        check_range("C", self.C, 1e-6, 1e9)
        if isinstance(self.gamma, bool) or not isinstance(self.gamma, int | float | str):
            raise StrategyError(f"gamma {self.gamma!r} is not understood; allowed: scale or a number above 0")
        if isinstance(self.gamma, str):
            if self.gamma != "scale":
                raise StrategyError(f"gamma {self.gamma!r} is not understood; allowed: scale or a number above 0")
        else:
            check_range("gamma", self.gamma, 1e-12, 1e6)

    @property
    def receptive_field_px(self) -> int:
        return 1

    def space(self) -> Mapping[str, Distribution]:
        return {} if self.tuning == "cross_validation" else self.search_space

    def features(self, cube_HWC: np.ndarray, visible_HW: np.ndarray) -> np.ndarray:
        """The spectra themselves; 0 where a pixel is not visible."""
        return np.where(visible_HW[..., None], cube_HWC, 0).astype(np.float32, copy=False)

    def fit(self, features_NF: np.ndarray, labels_N: np.ndarray, *, seed: int) -> Any:
        """A fitted `sklearn.svm.SVC`; `seed` deals the folds of the cross-validation."""
        estimators.check_training_set(features_NF, labels_N)
        values: Mapping[str, Any] = {"C": self.C, "gamma": self.gamma}
        if self.tuning == "cross_validation":
            candidates = [{"C": C, "gamma": gamma} for C, gamma in itertools.product(C_GRID, GAMMA_GRID)]
            values = estimators.choose(candidates, _make, features_NF, labels_N, seed=seed) or values
        return estimators.fit(_make(values), features_NF, labels_N)

    def predict(self, model: Any, features_NF: np.ndarray) -> np.ndarray:
        """Class index of each row."""
        predicted: np.ndarray = model.predict(features_NF)
        return predicted


def _make(values: Mapping[str, Any]) -> Any:
    from sklearn.svm import SVC

    return SVC(kernel="rbf", **values)


STRATEGY = SvmRbf
