"""Our scores against torchmetrics, as HS3-Bench's code calls it, in both modes."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torchmetrics import Accuracy, F1Score, JaccardIndex

from orchestrator.errors import DataError
from orchestrator.metrics import COMPAT_METRICS, compat_scores, confusion_matrix, scores

CLASSES = 4
"""Scored classes; the papers' code has one more, the undefined one, which it ignores as a target."""


def published(target: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    """The papers' scores; pixels that are not scored carry the undefined class as their target."""
    options = {"task": "multiclass", "num_classes": CLASSES + 1, "ignore_index": CLASSES}
    found = {
        "compat_oa": Accuracy(average="micro", **options),
        "compat_aa": Accuracy(average="macro", **options),
        "compat_mean_f1": F1Score(average="macro", **options),
        "compat_miou": JaccardIndex(**options),
    }
    truth = torch.from_numpy(np.where(target == -1, CLASSES, target))
    for metric in found.values():
        # in two parts: the state is accumulated over the split
        for part in (slice(None, 100), slice(100, None)):
            metric.update(torch.from_numpy(predicted)[part], truth[part])
    return {name: float(metric.compute()) for name, metric in found.items()}


def drawn(seed: int, *, undefined: float, classes: int = CLASSES) -> tuple[np.ndarray, np.ndarray]:
    """Targets with unscored pixels, and predictions of which a share is the undefined class."""
    generator = np.random.default_rng(seed)
    target = generator.integers(-1, classes, 500)
    predicted = np.where(generator.random(500) < 0.7, np.maximum(target, 0), generator.integers(0, classes, 500))
    predicted[generator.random(500) < undefined] = CLASSES
    return target, predicted


@pytest.mark.parametrize("undefined", [0.0, 0.01, 0.3])
@pytest.mark.parametrize("seed", range(4))
def test_the_compatible_scores_are_those_of_torchmetrics(seed: int, undefined: float) -> None:
    target, predicted = drawn(seed, undefined=undefined)
    ours = compat_scores(confusion_matrix(target, predicted, CLASSES + 1), CLASSES)
    assert tuple(ours) == COMPAT_METRICS
    assert ours == pytest.approx(published(target, predicted), abs=1e-6)


def test_a_class_that_is_predicted_and_never_there_counts_zero_and_one_that_is_neither_is_left_out() -> None:
    target, predicted = drawn(7, undefined=0.0, classes=2)
    assert compat_scores(confusion_matrix(target, predicted, CLASSES + 1), CLASSES) == pytest.approx(
        published(target, predicted), abs=1e-6
    )
    predicted[0] = 3
    target[0] = 0
    with_stray = compat_scores(confusion_matrix(target, predicted, CLASSES + 1), CLASSES)
    assert with_stray == pytest.approx(published(target, predicted), abs=1e-6)
    own = scores(confusion_matrix(target, predicted, CLASSES + 1), range(2))
    assert with_stray["compat_miou"] < 0.7 * own["miou"]


@pytest.mark.parametrize("seed", range(4))
def test_without_undefined_predictions_both_modes_agree(seed: int) -> None:
    target, predicted = drawn(seed, undefined=0.0)
    counts = confusion_matrix(target, predicted, CLASSES)
    own = {f"compat_{name}": value for name, value in scores(counts, range(CLASSES)).items() if name != "kappa"}
    assert compat_scores(counts, CLASSES) == pytest.approx(own, abs=1e-12)
    assert own == pytest.approx(published(target, predicted), abs=1e-6)


def test_own_scores_count_a_pixel_predicted_as_undefined_as_wrong() -> None:
    target, predicted = np.array([0, 0, 1, 1]), np.array([0, CLASSES, 1, 1])
    own = scores(confusion_matrix(target, predicted, CLASSES + 1), (0, 1))
    assert own["oa"] == pytest.approx(0.75)
    assert own["aa"] == pytest.approx((0.5 + 1.0) / 2)
    assert own["miou"] == pytest.approx((0.5 + 1.0) / 2)


def test_one_labelled_pixel_predicted_as_undefined_costs_the_published_accuracy_a_fifth() -> None:
    target = np.repeat(np.arange(CLASSES), 156)
    predicted = target.copy()
    predicted[0] = CLASSES
    counts = confusion_matrix(target, predicted, CLASSES + 1)
    compat, own = compat_scores(counts, CLASSES), scores(counts, range(CLASSES))
    assert own["aa"] == pytest.approx(0.9984, abs=1e-4)
    assert compat["compat_aa"] == pytest.approx(0.7987, abs=1e-4)
    assert compat["compat_mean_f1"] == pytest.approx(own["mean_f1"] * CLASSES / (CLASSES + 1))
    assert compat["compat_miou"] == pytest.approx(own["miou"])
    assert compat["compat_oa"] == pytest.approx(own["oa"])
    assert compat == pytest.approx(published(target, predicted), abs=1e-6)


def test_a_matrix_of_another_size_or_with_undefined_targets_is_refused() -> None:
    with pytest.raises(DataError, match="allowed: 3 or 4 a side"):
        compat_scores(np.eye(5, dtype=int), 3)
    with pytest.raises(DataError, match="with 1 undefined target pixels"):
        compat_scores(np.eye(4, dtype=int), 3)
