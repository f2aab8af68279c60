"""Gradients of one step over all ranks, whole or in parts."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any

import torch
import torch.distributed as dist
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from orchestrator.execution.pieces import IGNORED
from orchestrator.execution.seat import Seat
from strategies.objectives.segmentation import cross_entropy


def backward(
    net: nn.Module,
    x_BCHW: torch.Tensor,
    y_BHW: torch.Tensor,
    seat: Seat,
    *,
    autocast: Callable[[], Any],
    scaler: torch.amp.GradScaler,
    class_weights_K: torch.Tensor | None = None,
    over_all_pixels: bool = False,
    parts: int = 1,
) -> float:
    """Add the gradients of the mean loss over the labelled pixels of all ranks; this rank's part of that loss.

    Scaled so that DDP's average of gradients is the gradient of the mean. In `parts` (after a run was out of memory)
    the gradients are the same but for the order of summation.

    Args:
        net: the network, in DDP where there is more than one rank.
        x_BCHW: inputs.
        y_BHW: class indices, -1 where there is no label.
        seat: this rank.
        autocast: context in which the network runs.
        scaler: scales the loss where gradients are half precision.
        class_weights_K: weight of each class.
        over_all_pixels: divide by the number of all pixels, as if unlabelled ones had a loss of 0.
        parts: number of parts that the batch is computed in.
    """
    labelled = torch.tensor(y_BHW.numel(), device=y_BHW.device) if over_all_pixels else (y_BHW != IGNORED).sum()
    if seat.world_size > 1:
        dist.all_reduce(labelled)
    pieces = list(zip(x_BCHW.chunk(parts), y_BHW.chunk(parts), strict=True))
    total = 0.0
    for number, (x, y) in enumerate(pieces):
        is_last = number == len(pieces) - 1
        # ranks exchange gradients once a step, with the last part
        alone = isinstance(net, DistributedDataParallel) and not is_last
        with net.no_sync() if alone else contextlib.nullcontext():  # type: ignore[operator]
            with autocast():
                loss_sum, _ = cross_entropy(net(x), y, class_weights_K=class_weights_K)
            loss = loss_sum * seat.world_size / labelled.clamp_min(1)
            torch.autograd.backward(scaler.scale(loss))
        total += float(loss.detach())
    return total


def can_split(model: nn.Module, samples: int) -> bool:
    """Whether a batch (or what is computed of it at once) in two parts gives the same gradients.

    It does where no statistics are taken over the batch, and there are two samples.
    """
    return samples >= 2 and not any(isinstance(module, _BatchNorm) for module in model.modules())
