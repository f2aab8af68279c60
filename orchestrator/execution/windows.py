"""Overlapping windows over an image of any size, and the weights with which their predictions are blended.

Scoring and prediction use the same windows. For networks that take any size they are wide: along each axis a window
has a rim of context, whose predictions are not used because the network saw only part of their surroundings, and
inside of it a ramp over which one window fades into the next. Networks that look at the whole of a window of a given
side get squares of that side, which fade into each other over a quarter of it at least. The image's own edges have
neither rim nor ramp. Positions depend on the image's size alone, so the same cube always gives the same labels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from orchestrator.execution import pieces

ALIGNMENT_PX = 32
"""Windows start at multiples of it: networks that halve the resolution see the same grid as in the whole image."""
RAMP_PX = 64
OVERLAP_SHARE = 4
"""Square windows overlap by at least their side divided by it."""

Strip = tuple[slice, NDArray[np.int64], "NDArray[np.float32] | None"]
"""Rows of the image, the class index of their pixels `[h, W]`, and its probability where the model knows one."""


@dataclass(frozen=True)
class Window:
    """One window along one axis."""

    pixels: slice
    """Where it lies in the image."""
    weights: NDArray[np.float32]
    """Share of its prediction in each of its pixels; over all windows they add up to 1 in every pixel."""

    @property
    def used(self) -> slice:
        """Part of the image where its weight is not 0."""
        inside = np.flatnonzero(self.weights)
        return slice(self.pixels.start + int(inside[0]), self.pixels.start + int(inside[-1]) + 1)


def blended_windows(size_px: int, reach_px: int) -> list[Window]:
    """Wide windows for a network that takes any size.

    Args:
        size_px: height or width of the image.
        reach_px: pixels that an output pixel can see to either side; 0 needs no overlap. Of more than
            `TILE_MARGIN_PX` only that is kept free.
    """
    side_px = pieces.EVALUATION_TILE_PX
    if size_px <= side_px:
        return [Window(slice(0, size_px), np.ones(size_px, dtype=np.float32))]
    context_px = min(reach_px, pieces.TILE_MARGIN_PX)
    overlap_px = -(-(2 * context_px + RAMP_PX) // ALIGNMENT_PX) * ALIGNMENT_PX if reach_px else 0
    if reach_px:
        last = (size_px - side_px) // ALIGNMENT_PX * ALIGNMENT_PX
        count = -(-last // (side_px - overlap_px))
        # Spread evenly and of full width up to the edge: a sliver there would see too little.
        starts = [last * number // max(1, count) // ALIGNMENT_PX * ALIGNMENT_PX for number in range(count + 1)]
    else:
        starts = list(range(0, size_px, side_px))
    spans = [(start, min(size_px, start + side_px)) for start in starts]
    spans[-1] = (starts[-1], size_px)
    return _weighted(spans, [_ramp(start, stop, size_px, context_px, overlap_px) for start, stop in spans])


def square_windows(size_px: int, side_px: int) -> list[Window]:
    """Windows of one side, spread evenly from edge to edge; an image that is smaller is one window as it is."""
    if size_px <= side_px:
        return [Window(slice(0, size_px), np.ones(size_px, dtype=np.float32))]
    overlap_px = -(-side_px // OVERLAP_SHARE)
    steps = -(-(size_px - side_px) // max(1, side_px - overlap_px))
    starts = [(size_px - side_px) * number // steps for number in range(steps + 1)]
    spans = [(start, start + side_px) for start in starts]
    return _weighted(spans, [_cosine_ramp(start, stop, size_px, overlap_px) for start, stop in spans])


def _weighted(spans: list[tuple[int, int]], ramps: list[NDArray[np.float64]]) -> list[Window]:
    """Windows whose weights add up to 1."""
    total = np.zeros(spans[-1][1])
    for (start, stop), ramp in zip(spans, ramps, strict=True):
        total[start:stop] += ramp
    return [
        Window(slice(start, stop), (ramp / total[start:stop]).astype(np.float32))
        for (start, stop), ramp in zip(spans, ramps, strict=True)
    ]


def predict_in_windows(
    logits: Callable[[slice, slice], Any], height: int, width: int, *, inference_px: int, reach_px: int, outputs: int
) -> Iterator[Strip]:
    """Predict an image window by window, from top to bottom.

    Args:
        logits: a torch tensor `[K, h, w]` of a window; None where nothing of the window is wanted (index 0 there).
        height: of the image in px.
        width: of the image in px.
        inference_px: side of the square windows that the network is given; 0 = it takes any size.
        reach_px: pixels that an output pixel can see to either side.
        outputs: K.
    """
    rows, columns = (
        square_windows(size, inference_px) if inference_px else blended_windows(size, reach_px)
        for size in (height, width)
    )
    if len(rows) == len(columns) == 1:
        logits_KHW = logits(slice(0, height), slice(0, width))
        if logits_KHW is None:
            yield slice(0, height), np.zeros((height, width), np.int64), np.zeros((height, width), np.float32)
            return
        labels_HW, confidence_HW = logits_KHW.argmax(0), logits_KHW.float().softmax(0).amax(0)
        yield slice(0, height), labels_HW.cpu().numpy(), confidence_HW.cpu().numpy()
        return

    def probabilities(r: slice, c: slice) -> NDArray[np.float32] | None:
        logits_KHW = logits(r, c)
        return None if logits_KHW is None else logits_KHW.float().softmax(0).cpu().numpy()

    yield from blend(rows, columns, probabilities, outputs)


def exact_windows(size_px: int, reach_px: int) -> list[Window]:
    """Windows whose used parts lie side by side, each with all the context it needs: nothing is blended."""
    step_px = pieces.EVALUATION_TILE_PX
    windows = []
    for first in range(0, size_px, step_px):
        end = min(size_px, first + step_px)
        start, stop = max(0, first - reach_px), min(size_px, end + reach_px)
        weights = np.zeros(stop - start, dtype=np.float32)
        weights[first - start : end - start] = 1
        windows.append(Window(slice(start, stop), weights))
    return windows


def blend(
    rows: list[Window],
    columns: list[Window],
    probabilities: Callable[[slice, slice], NDArray[np.float32] | None],
    num_classes: int,
) -> Iterator[Strip]:
    """Predict window by window and blend; finished rows come as soon as no later window reaches them.

    Args:
        rows: windows along the height.
        columns: windows along the width.
        probabilities: class probabilities `[K, h, w]` of a window; None leaves it at 0.
        num_classes: K.
    """
    width = columns[-1].pixels.stop
    carried_KHW = np.zeros((num_classes, 0, width), dtype=np.float32)
    for number, row in enumerate(rows):
        total_KHW = np.zeros((num_classes, row.pixels.stop - row.pixels.start, width), dtype=np.float32)
        total_KHW[:, : carried_KHW.shape[1]] = carried_KHW
        for column in columns:
            window_KHW = probabilities(row.pixels, column.pixels)
            if window_KHW is not None:
                weights_HW = row.weights[:, None] * column.weights
                total_KHW[:, :, column.pixels] += window_KHW * weights_HW
        done = (rows[number + 1].pixels.start if number + 1 < len(rows) else row.pixels.stop) - row.pixels.start
        finished_KHW, carried_KHW = total_KHW[:, :done], total_KHW[:, done:]
        if done:
            span = slice(row.pixels.start, row.pixels.start + done)
            yield span, finished_KHW.argmax(0), np.minimum(finished_KHW.max(0), np.float32(1))


def _cosine_ramp(start: int, stop: int, size_px: int, overlap_px: int) -> NDArray[np.float64]:
    """Rises smoothly from above 0 to 1 over the overlap; flat at the image's edges."""
    distance = np.arange(stop - start) + 0.5
    rising = np.sin(np.pi / 2 * np.clip(distance / overlap_px, 0, 1)) ** 2
    flat = np.ones(stop - start)
    return np.minimum(rising if start > 0 else flat, rising[::-1] if stop < size_px else flat)


def _ramp(start: int, stop: int, size_px: int, context_px: int, overlap_px: int) -> NDArray[np.float64]:
    """0 in the context, rising to 1 over the rest of the overlap; flat at the image's edges."""
    length = max(1, overlap_px - 2 * context_px)
    distance = np.arange(stop - start) - context_px + 0.5
    rising = np.clip(distance / length, 0, 1) if start > 0 else np.ones(stop - start)
    falling = np.clip(distance[::-1] / length, 0, 1) if stop < size_px else np.ones(stop - start)
    return np.minimum(rising, falling)
