"""Scores against scikit-learn on random data, and the edges where scores are undefined."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn import metrics as reference

from orchestrator.errors import DataError
from orchestrator.metrics import ALIASES, FURTHER_METRICS, METRICS, confusion_matrix, further_scores, per_class, scores

CLASSES = 5


def _labels(seed: int, size: int = 400) -> tuple[np.ndarray, np.ndarray]:
    generator = np.random.default_rng(seed)
    target = generator.integers(0, CLASSES, size)
    noise = generator.integers(0, CLASSES, size)
    return target, np.where(generator.random(size) < 0.6, target, noise)


@pytest.mark.parametrize("seed", range(5))
def test_scores_equal_those_of_scikit_learn(seed: int) -> None:
    target, predicted = _labels(seed)
    result = scores(confusion_matrix(target, predicted, CLASSES), range(CLASSES))
    assert set(result) == set(METRICS)
    assert result["oa"] == pytest.approx(reference.accuracy_score(target, predicted), abs=1e-12)
    assert result["aa"] == pytest.approx(reference.balanced_accuracy_score(target, predicted), abs=1e-12)
    assert result["miou"] == pytest.approx(reference.jaccard_score(target, predicted, average="macro"), abs=1e-12)
    assert result["mean_f1"] == pytest.approx(reference.f1_score(target, predicted, average="macro"), abs=1e-12)
    assert result["kappa"] == pytest.approx(reference.cohen_kappa_score(target, predicted), abs=1e-12)


@pytest.mark.parametrize("seed", range(5))
def test_further_scores_equal_those_of_scikit_learn(seed: int) -> None:
    target, predicted = _labels(seed)
    counts = confusion_matrix(target, predicted, CLASSES)
    # back from counts to labels, so that nothing but the counts reaches the reference
    rows, columns = np.nonzero(counts)
    target, predicted = np.repeat(rows, counts[rows, columns]), np.repeat(columns, counts[rows, columns])
    expected = {
        "weighted_f1": reference.f1_score(target, predicted, average="weighted"),
        "fw_iou": reference.jaccard_score(target, predicted, average="weighted"),
        "macro_precision": reference.precision_score(target, predicted, average="macro"),
        "mcc": reference.matthews_corrcoef(target, predicted),
    }
    result = further_scores(counts, range(CLASSES))
    assert set(result) == set(FURTHER_METRICS)
    assert result == pytest.approx(expected, abs=1e-12)


def test_other_names_of_scores_mean_what_scikit_learn_means_by_them() -> None:
    target, predicted = _labels(11)
    result = scores(confusion_matrix(target, predicted, CLASSES), range(CLASSES))
    expected = {
        "balanced_accuracy": reference.balanced_accuracy_score(target, predicted),
        "macro_recall": reference.recall_score(target, predicted, average="macro"),
        "macro_f1": reference.f1_score(target, predicted, average="macro"),
        "mean_iou": reference.jaccard_score(target, predicted, average="macro"),
        "accuracy": reference.accuracy_score(target, predicted),
    }
    assert {name: result[ALIASES[name]] for name in ALIASES} == pytest.approx(expected, abs=1e-12)


def test_a_correlation_with_a_constant_is_absent_and_a_class_never_predicted_has_precision_zero() -> None:
    result = further_scores(confusion_matrix([0, 0, 1, 1], [0, 0, 0, 0], 2), (0, 1))
    assert "mcc" not in result
    assert result["macro_precision"] == pytest.approx(0.25)
    assert further_scores(np.zeros((3, 3), dtype=np.int64), (0, 1, 2)) == {}


def test_billions_of_pixels_do_not_overflow() -> None:
    counts = np.array([[4_000_000_000, 1_000_000_000], [1_000_000_000, 4_000_000_000]])
    assert further_scores(counts, (0, 1))["mcc"] == pytest.approx(0.6)
    assert scores(counts, (0, 1))["kappa"] == pytest.approx(0.6)


def test_class_scores_equal_those_of_scikit_learn() -> None:
    target, predicted = _labels(7)
    result = per_class(confusion_matrix(target, predicted, CLASSES), range(CLASSES))
    iou = reference.jaccard_score(target, predicted, average=None)
    recall = reference.recall_score(target, predicted, average=None)
    f1 = reference.f1_score(target, predicted, average=None)
    precision = reference.precision_score(target, predicted, average=None)
    for index in range(CLASSES):
        expected = {"iou": iou[index], "recall": recall[index], "f1": f1[index], "precision": precision[index]}
        assert result[index] == pytest.approx(expected)


def test_rows_of_the_confusion_matrix_are_the_target() -> None:
    assert confusion_matrix([0, 0, 1], [1, 0, 1], 2).tolist() == [[1, 1], [0, 1]]


def test_ignored_pixels_are_not_counted() -> None:
    counts = confusion_matrix(np.array([[0, -1], [1, -1]]), np.array([[0, 0], [1, 1]]), 2)
    assert counts.sum() == 2
    assert counts.dtype == np.int64


def test_matrices_of_parts_add_up_to_the_matrix_of_the_whole() -> None:
    target, predicted = _labels(3)
    parts = sum(confusion_matrix(target[i::3], predicted[i::3], CLASSES) for i in range(3))
    assert (parts == confusion_matrix(target, predicted, CLASSES)).all()


def test_a_class_that_has_pixels_and_is_never_predicted_scores_zero() -> None:
    counts = confusion_matrix([0, 0, 1, 1], [0, 0, 0, 0], 2)
    assert per_class(counts, (0, 1))[1] == {"iou": 0.0, "f1": 0.0, "recall": 0.0, "precision": 0.0}
    assert scores(counts, (0, 1))["miou"] == pytest.approx(0.25)


def test_a_class_without_target_pixels_is_absent_and_not_zero() -> None:
    counts = confusion_matrix([0, 0, 1, 1], [0, 2, 1, 1], 3)
    assert set(per_class(counts, (0, 1, 2))) == {0, 1}
    assert scores(counts, (0, 1, 2))["miou"] == pytest.approx((0.5 + 1.0) / 2)


def test_which_classes_count_does_not_depend_on_the_prediction() -> None:
    target = [0, 0, 1, 1]
    used = [set(per_class(confusion_matrix(target, p, 3), range(3))) for p in ([0, 0, 1, 1], [2, 2, 2, 2])]
    assert used == [{0, 1}, {0, 1}]


def test_macro_means_run_over_the_given_classes_only() -> None:
    counts = confusion_matrix([0, 0, 0, 1, 2], [0, 0, 0, 0, 2], 3)
    assert scores(counts, (1, 2))["aa"] == pytest.approx(0.5)


def test_kappa_is_absent_where_chance_agreement_is_complete() -> None:
    result = scores(confusion_matrix([1, 1], [1, 1], 2), (0, 1))
    assert "kappa" not in result
    assert result["oa"] == 1.0


def test_kappa_is_zero_for_a_constant_prediction() -> None:
    assert scores(confusion_matrix([0, 1, 1], [1, 1, 1], 2), (0, 1))["kappa"] == pytest.approx(0.0)


def test_nothing_scored_gives_no_score() -> None:
    assert scores(np.zeros((3, 3), dtype=np.int64), (0, 1, 2)) == {}


@pytest.mark.parametrize(
    ("target", "predicted", "text"),
    [
        ([0, 1], [0], r"shape \(2,\).*\(1,\)"),
        ([0, 3], [0, 1], "target class 3 .* 0 to 2"),
        ([0, 1], [0, -1], "predicted class -1 .* 0 to 2"),
    ],
)
def test_bad_labels_are_refused_with_what_is_allowed(target: list[int], predicted: list[int], text: str) -> None:
    with pytest.raises(DataError, match=text):
        confusion_matrix(target, predicted, 3)


@pytest.mark.parametrize("bad", [[[1, 2]], [[1, -1], [0, 1]]])
def test_what_is_no_confusion_matrix_is_refused(bad: list[list[int]]) -> None:
    with pytest.raises(DataError, match="confusion matrix"):
        scores(bad, (0,))


def test_a_scored_class_outside_of_the_matrix_is_refused() -> None:
    with pytest.raises(DataError, match="scored class 4 .* 0 to 1"):
        scores([[1, 0], [0, 1]], (4,))
