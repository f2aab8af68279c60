"""What estimators share: what they are fitted to, one class only, cross-validation on the training labels.

No label outside of the training labels is ever looked at.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

FOLDS = 5


def assign_folds(labels_N: np.ndarray, *, seed: int, folds: int = FOLDS) -> np.ndarray:
    """Deal samples to folds class by class.

    A class with fewer samples than folds is in some folds only, one with a single sample in none (-1: always
    training), so that no class is ever missing from training.

    Args:
        labels_N: class index of each sample.
        seed: of the shuffle.
        folds: number of folds.

    Returns:
        `[N]` int64, the fold of each sample or -1.
    """
    rng = np.random.default_rng(seed)
    fold_N = np.full(len(labels_N), -1, dtype=np.int64)
    start = 0
    for label in np.unique(labels_N):
        members = rng.permutation(np.flatnonzero(labels_N == label))
        if len(members) > 1:
            fold_N[members] = (start + np.arange(len(members))) % folds
            # the next class goes on where this one stopped, so that folds of small classes are not all the first ones
            start += len(members)
    return fold_N


def choose(
    candidates: Sequence[Mapping[str, Any]],
    make: Callable[[Mapping[str, Any]], Any],
    features_NF: np.ndarray,
    labels_N: np.ndarray,
    *,
    seed: int,
) -> Mapping[str, Any] | None:
    """The candidate with the most samples right over all folds; the first one of equals.

    Args:
        candidates: hyperparameters to choose from.
        make: an unfitted estimator from a candidate.
        features_NF: training features.
        labels_N: their class indices.
        seed: of the folds.

    Returns:
        A candidate, or None where no class has two samples, so that nothing can be held out.
    """
    fold_N = assign_folds(labels_N, seed=seed)
    used = [fold for fold in range(FOLDS) if (fold_N == fold).any()]
    if not used:
        return None
    right = []
    for candidate in candidates:
        count = 0
        for fold in used:
            train_N, held_out_N = fold_N != fold, fold_N == fold
            model = fit(make(candidate), features_NF[train_N], labels_N[train_N])
            count += int((model.predict(features_NF[held_out_N]) == labels_N[held_out_N]).sum())
        right.append(count)
    return candidates[int(np.argmax(right))]


def fit(estimator: Any, features_NF: np.ndarray, labels_N: np.ndarray) -> Any:
    """A fitted estimator; with a single class, for which scikit-learn's classifiers raise, one that always says it."""
    from sklearn.dummy import DummyClassifier

    if len(np.unique(labels_N)) == 1:
        estimator = DummyClassifier(strategy="most_frequent")
    return estimator.fit(features_NF, labels_N)


def check_training_set(features_NF: np.ndarray, labels_N: np.ndarray) -> None:
    """Refuse training data that no classifier can be fitted to.

    Raises:
        StrategyError: no samples, other shapes, or numbers that are not finite.
    """
    from strategies._base import StrategyError

    if features_NF.ndim != 2 or labels_N.shape != (len(features_NF),) or len(labels_N) == 0:
        raise StrategyError(
            f"training features {features_NF.shape} and labels {labels_N.shape}: "
            "allowed are [N, F] and [N] with N >= 1; check the label budget"
        )
    if not np.isfinite(features_NF).all():
        raise StrategyError(
            "training features hold NaN or infinity; allowed: finite numbers; check normalisation and nodata"
        )
