"""Scores from confusion matrices: accuracies, IoU, F1, precision, Cohen's kappa and Matthews correlation.

Every score of the tool comes from here, from integer counts that were summed over ranks first, so that a score never
depends on how pixels were dealt to workers. What cannot be computed is left out of the result, never written as 0.
Nothing here knows images, runs or files.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import numpy.typing as npt

from orchestrator.errors import DataError

IMPLEMENTATION_VERSION = 1
"""Raised by hand when a change alters numbers; it is in every run's key."""

METRICS = ("miou", "oa", "aa", "mean_f1", "kappa")
"""Scores that a grid may select on, all "larger is better"."""

FURTHER_METRICS = ("weighted_f1", "fw_iou", "macro_precision", "mcc")
"""Scores that are not stored with a run by default but follow from its confusion matrices, all "larger is better"."""

COMPAT_METRICS = ("compat_oa", "compat_aa", "compat_mean_f1", "compat_miou")
"""Scores by the convention of HS3-Bench's papers, which took them from torchmetrics; see `compat_scores`."""

ALIASES = {"balanced_accuracy": "aa", "macro_recall": "aa", "macro_f1": "mean_f1", "mean_iou": "miou", "accuracy": "oa"}
"""Other names of the same scores: balanced accuracy is the mean recall over classes with target pixels, as `aa` is."""

IGNORED = -1
"""Target value of a pixel that is not scored."""

Confusion = npt.NDArray[np.int64]


def confusion_matrix(target: npt.ArrayLike, predicted: npt.ArrayLike, num_classes: int) -> Confusion:
    """Counts of pixels by true class (row) and predicted class (column).

    Args:
        target: class index of each pixel, any shape; `-1` = not scored.
        predicted: class index of each pixel, same shape.
        num_classes: K, number of class indices.

    Returns:
        int64 `[K, K]`.

    Raises:
        DataError: shapes differ, or an index outside of its range.
    """
    target_array, predicted_array = np.asarray(target), np.asarray(predicted)
    if target_array.shape != predicted_array.shape:
        raise DataError(
            f"target has shape {target_array.shape} but prediction has {predicted_array.shape}; they must be the same"
        )
    scored = target_array != IGNORED
    target_N = target_array[scored].astype(np.int64)
    predicted_N = predicted_array[scored].astype(np.int64)
    _check_range("target", target_N, num_classes)
    _check_range("predicted", predicted_N, num_classes)
    counts = np.bincount(target_N * num_classes + predicted_N, minlength=num_classes * num_classes)
    return counts.reshape(num_classes, num_classes).astype(np.int64, copy=False)


def scores(confusion: npt.ArrayLike, scored_classes: Iterable[int]) -> dict[str, float]:
    """The headline scores of one confusion matrix.

    Overall accuracy and kappa count every pixel of the matrix. The macro means (`aa`, `miou`, `mean_f1`) run over
    those of `scored_classes` that have target pixels in the matrix: the labels decide which classes count, never the
    prediction. A class that has pixels and is never predicted scores 0.

    Args:
        confusion: counts `[K, K]`, rows = target.
        scored_classes: class indices that the macro means run over, fixed per split.

    Returns:
        `oa`, `aa`, `miou`, `mean_f1`, `kappa`; each only where it is defined (kappa is not where target and
        prediction are one and the same single class).

    Raises:
        DataError: the matrix is not square, has negative counts, or a scored class is out of range.
    """
    counts = _checked(confusion)
    result: dict[str, float] = {}
    total = int(counts.sum())
    if total:
        observed = int(np.trace(counts)) / total
        expected = float(counts.sum(axis=1) @ (counts.sum(axis=0) / total)) / total
        result["oa"] = observed
        if expected < 1.0:
            result["kappa"] = (observed - expected) / (1.0 - expected)
    classes = list(per_class(counts, scored_classes).values())
    if classes:
        for name, source in (("aa", "recall"), ("miou", "iou"), ("mean_f1", "f1")):
            result[name] = float(np.mean([values[source] for values in classes]))
    return result


def further_scores(confusion: npt.ArrayLike, scored_classes: Iterable[int]) -> dict[str, float]:
    """The scores of `FURTHER_METRICS` of one confusion matrix, by the rules of `scores`.

    `weighted_f1` and `fw_iou` (frequency-weighted IoU) are means over the scored classes that have target pixels,
    weighted by their number; `macro_precision` is their plain mean, in which a class that is never predicted counts 0;
    `mcc`, the Matthews correlation of several classes, counts every pixel of the matrix.

    Args:
        confusion: counts `[K, K]`, rows = target.
        scored_classes: class indices that the means run over, fixed per split.

    Returns:
        Each score only where it is defined (`mcc` is not where target or prediction is a single class).

    Raises:
        DataError: the matrix is not square, has negative counts, or a scored class is out of range.
    """
    counts = _checked(confusion)
    result: dict[str, float] = {}
    by_class = per_class(counts, scored_classes)
    if by_class:
        pixels = np.array([counts[index].sum() for index in by_class], dtype=np.float64)
        for name, source in (("weighted_f1", "f1"), ("fw_iou", "iou")):
            result[name] = float(np.average([values[source] for values in by_class.values()], weights=pixels))
        result["macro_precision"] = float(np.mean([values["precision"] for values in by_class.values()]))
    # in float: products of pixel counts leave the range of int64 at some billions of pixels
    target_K, predicted_K = counts.sum(axis=1).astype(np.float64), counts.sum(axis=0).astype(np.float64)
    total = float(counts.sum())
    spread = (total**2 - target_K @ target_K) * (total**2 - predicted_K @ predicted_K)
    if spread > 0:
        result["mcc"] = float((np.trace(counts) * total - target_K @ predicted_K) / np.sqrt(spread))
    return result


def compat_scores(confusion: npt.ArrayLike, num_classes: int) -> dict[str, float]:
    """The headline scores as torchmetrics gives them with `num_classes` + 1 classes of which the last is ignored.

    Macro means run over every class that has target or predicted pixels: one that is predicted and not in the target
    counts 0. In `compat_aa` and `compat_mean_f1` the undefined class is such a class as soon as one labelled pixel is
    predicted as undefined; in `compat_miou` it never counts. HS3-Bench's published numbers were made so.

    Args:
        confusion: counts `[K, K]`, or `[K + 1, K + 1]` with the pixels predicted as undefined in the last column.
        num_classes: K.

    Returns:
        The scores of `COMPAT_METRICS`; none where the matrix is empty.

    Raises:
        DataError: the matrix has another size, negative counts, or undefined pixels among the targets.
    """
    counts = _checked(confusion)
    if counts.shape[0] not in (num_classes, num_classes + 1) or counts[num_classes:].any():
        raise DataError(
            f"a confusion matrix of shape {counts.shape} with {int(counts[num_classes:].sum())} undefined target "
            f"pixels does not fit {num_classes} classes; allowed: {num_classes} or {num_classes + 1} a side, the last "
            "row empty"
        )
    if not counts.any():
        return {}
    hits, target, predicted = np.diag(counts), counts.sum(axis=1), counts.sum(axis=0)
    seen = np.flatnonzero(target + predicted)
    recall = hits[seen] / np.maximum(target[seen], 1)
    f1 = 2 * hits[seen] / (target[seen] + predicted[seen])
    iou = hits[seen] / (target[seen] + predicted[seen] - hits[seen])
    return {
        "compat_oa": int(hits.sum()) / int(counts.sum()),
        "compat_aa": float(recall.mean()),
        "compat_mean_f1": float(f1.mean()),
        "compat_miou": float(iou[seen < num_classes].mean()),
    }


def per_class(confusion: npt.ArrayLike, scored_classes: Iterable[int]) -> dict[int, dict[str, float]]:
    """`iou`, `f1`, `recall` and `precision` of each scored class that has target pixels; others are left out.

    A class that is never predicted has precision 0, as it has F1 0.

    Args:
        confusion: counts `[K, K]`, rows = target.
        scored_classes: class indices to report.

    Raises:
        DataError: the matrix is not square, has negative counts, or a scored class is out of range.
    """
    counts = _checked(confusion)
    num_classes = counts.shape[0]
    result: dict[int, dict[str, float]] = {}
    for index in scored_classes:
        if not 0 <= index < num_classes:
            raise DataError(f"scored class {index} is out of range; allowed: 0 to {num_classes - 1}")
        true_positives = int(counts[index, index])
        in_target = int(counts[index].sum())
        in_prediction = int(counts[:, index].sum())
        if not in_target:
            continue
        result[int(index)] = {
            "iou": true_positives / (in_target + in_prediction - true_positives),
            "f1": 2 * true_positives / (in_target + in_prediction),
            "recall": true_positives / in_target,
            "precision": true_positives / in_prediction if in_prediction else 0.0,
        }
    return result


def _check_range(name: str, values_N: npt.NDArray[np.int64], num_classes: int) -> None:
    if values_N.size and (values_N.min() < 0 or values_N.max() >= num_classes):
        bad = int(values_N.min()) if values_N.min() < 0 else int(values_N.max())
        raise DataError(f"{name} class {bad} is out of range; allowed: 0 to {num_classes - 1}")


def _checked(confusion: npt.ArrayLike) -> Confusion:
    counts = np.asarray(confusion, dtype=np.int64)
    if counts.ndim != 2 or counts.shape[0] != counts.shape[1]:
        raise DataError(f"a confusion matrix must be square, got shape {counts.shape}")
    if (counts < 0).any():
        raise DataError(f"a confusion matrix holds counts, got {int(counts.min())}; allowed: 0 and above")
    return counts
