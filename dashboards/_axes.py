"""Round ends and steps for axes."""

from __future__ import annotations

import math


def nice_range(low: float, high: float) -> tuple[float, float, float]:
    """A range with round ends around [low, high], and its step."""
    span = max(high - low, 1.0)
    raw = span / 5
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw)
    return math.floor(low / step) * step, max(math.ceil(high / step), math.floor(low / step) + 1) * step, step


def ticks(low: float, high: float, step: float) -> list[float]:
    """Values from `low` to `high` in equal steps, both ends included."""
    return [round(low + step * i, 10) for i in range(round((high - low) / step) + 1)]
