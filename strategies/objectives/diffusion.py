"""Noise schedule, denoiser of feature vectors and its deterministic trajectory (DDIM, arXiv:2010.02502).

The arrangement follows DiffKD (arXiv:2305.15712): the denoiser learns on the teacher's features alone.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional


class NoiseSchedule(nn.Module):
    """Share of the signal left after t steps of a linear schedule of variances."""

    def __init__(self, steps: int, first: float, last: float) -> None:
        super().__init__()
        kept = torch.cumprod(1 - torch.linspace(first, last, steps, dtype=torch.float64), dim=0)
        # a setting, not a weight: kept out of the state dict
        signal = torch.cat([torch.ones(1, dtype=torch.float64), kept]).float()
        self.register_buffer("signal", signal, persistent=False)

    def share(self, step: Tensor | int) -> Tensor:
        """Share of variance that is signal at a step 0..T."""
        signal: Tensor = self.signal  # type: ignore[assignment]
        return signal[step]

    def noised(self, z_NF: Tensor, noise_NF: Tensor, step: Tensor | int) -> Tensor:
        """Features after so many steps, one number for all or one each."""
        share = self.share(step)
        share = share[:, None] if share.ndim else share
        return share.sqrt() * z_NF + (1 - share).sqrt() * noise_NF


class Denoiser(nn.Module):
    """Predicts clean features `[N, F]` from noised ones and the step: three linear layers and a code of the step."""

    def __init__(self, features: int, hidden: int, steps: int) -> None:
        super().__init__()
        self.layers = nn.ModuleList(
            [nn.Linear(features, hidden), nn.Linear(hidden, hidden), nn.Linear(hidden, features)]
        )
        self.step_codes = nn.Embedding(steps + 1, hidden)

    def forward(self, z_NF: Tensor, step_N: Tensor, *, is_fixed: bool = False) -> Tensor:
        """Clean features; with `is_fixed` the gradient passes through to the input and reaches no parameter here."""
        hold = torch.Tensor.detach if is_fixed else _as_it_is
        enter, middle, leave = self.layers
        hidden = functional.linear(z_NF, hold(enter.weight), hold(enter.bias))  # type: ignore[arg-type]
        hidden = functional.gelu(hidden + functional.embedding(step_N, hold(self.step_codes.weight)))
        hidden = functional.gelu(functional.linear(hidden, hold(middle.weight), hold(middle.bias)))  # type: ignore[arg-type]
        return functional.linear(hidden, hold(leave.weight), hold(leave.bias))  # type: ignore[arg-type]


def trajectory(
    denoiser: Denoiser, schedule: NoiseSchedule, z_NF: Tensor, noise_NF: Tensor, levels: Sequence[int]
) -> Tensor:
    """Clean features as they are told apart step by step, `[K, N, F]`, from the noisiest level to the least noisy.

    Deterministic: given the noise, a function of z alone. The denoiser's parameters are fixed, since otherwise it could
    make all trajectories alike by forgetting its input.
    """
    descending = sorted(levels, reverse=True)
    noised = schedule.noised(z_NF, noise_NF, descending[0])
    found = []
    for level, lower in zip(descending, [*descending[1:], 0], strict=True):
        steps = torch.full((len(z_NF),), level, dtype=torch.long, device=z_NF.device)
        clean = denoiser(noised, steps, is_fixed=True).float()
        found.append(clean)
        share = schedule.share(level)
        left = (noised - share.sqrt() * clean) / (1 - share).sqrt()
        noised = schedule.noised(clean, left, lower)
    return torch.stack(found)


def _as_it_is(parameter: Tensor) -> Tensor:
    return parameter
