"""Losses over labelled pixels, as a sum and a count, so that the caller can normalise over all ranks.

Deliberately no mean: with two workers the mean of two means is not the mean over all pixels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from strategies._base import StrategyError

if TYPE_CHECKING:
    from torch import Tensor

IGNORED = -1


def cross_entropy(
    logits_BKHW: Tensor, target_BHW: Tensor, *, ignored_id: int = IGNORED, class_weights_K: Tensor | None = None
) -> tuple[Tensor, Tensor]:
    """Cross entropy summed over the labelled pixels.

    Args:
        logits_BKHW: scores of the K classes, any float type; the loss is taken in float32.
        target_BHW: class index of each pixel, any integer type.
        ignored_id: index of pixels without a label.
        class_weights_K: weight of each class, None for equal ones.

    Returns:
        loss_sum: scalar with gradient (0 with a gradient of 0 where no pixel has a label).
        labelled_pixels: scalar int64, the number of pixels that counted.
    """
    from torch.nn import functional

    target = target_BHW.long()
    loss_sum = functional.cross_entropy(
        logits_BKHW.float(), target, weight=class_weights_K, ignore_index=ignored_id, reduction="sum"
    )
    return loss_sum, (target != ignored_id).sum()


def class_balanced_weights(counts_K: Sequence[int]) -> Tensor:
    """Weights that give every class the same share of the loss.

    They are scaled so that the mean weight over the counted pixels is 1: dividing the weighted sum by the number of
    pixels then keeps the size of the loss. A class without a pixel gets 0.

    Raises:
        StrategyError: a negative count or none above zero.
    """
    import torch

    counts = torch.as_tensor(counts_K, dtype=torch.float64)
    if counts.ndim != 1 or bool((counts < 0).any()) or not bool((counts > 0).any()):
        raise StrategyError(
            f"class counts {list(counts_K)!r}: allowed are numbers >= 0 with one above 0; give training labels"
        )
    present = counts > 0
    weights = torch.zeros_like(counts)
    weights[present] = counts.sum() / (present.sum() * counts[present])
    return weights.float()
