"""MiniROCKET (Dempster, Schmidt and Webb, KDD 2021, arXiv 2012.08791): fixed convolutions, written from the paper.

84 kernels of nine weights, three of them 2 and six -1, slide over the sequence at several dilations. A feature is the
share of places where the result exceeds a bias; biases are quantiles of results on training examples. Nothing of this
is trained: a classifier on top is.
"""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor, nn
from torch.nn import functional

if TYPE_CHECKING:
    import numpy as np

KERNEL_LENGTH = 9
KERNELS = 84
"""Ways to choose three of nine places."""
MOST_DILATIONS = 32
GOLDEN = (5**0.5 + 1) / 2
PIXELS_AT_ONCE = 512
"""Bounds the memory: 40 kB a pixel for the published number of features."""


def dilations(length: int, features_a_kernel: int) -> dict[int, int]:
    """Dilations for sequences of a length, with the number of features that each gives a kernel (section 3.2).

    They are spread evenly over the exponents of 2 up to where a kernel is as long as the sequence; rounded down,
    several become one, which then has the features of them all.
    """
    steps = min(features_a_kernel, MOST_DILATIONS)
    largest = math.log2((length - 1) / (KERNEL_LENGTH - 1))
    exponents = [largest * step / max(1, steps - 1) for step in range(steps)]
    # 2 to the power of log2(3) may come out a little below 3.
    drawn = [math.floor(2**exponent + 1e-9) for exponent in exponents]
    counts = {one: drawn.count(one) * features_a_kernel // steps for one in sorted(set(drawn))}
    for _, one in zip(range(features_a_kernel - sum(counts.values())), itertools.cycle(counts), strict=False):
        counts[one] += 1
    return counts


class MiniRocketFeatures(nn.Module):
    """Maps sequences `[N, C]` to shares `[N, features]` in 0..1.

    Kernels see the sequence padded with zeros and unpadded in turn, from kernel to kernel and dilation to dilation.
    """

    def __init__(self, band_order: list[int], features: int) -> None:
        """Make a transform of sequences of this length, read in this order; the features are a multiple of 84."""
        super().__init__()
        self.band_order: Tensor
        self.weights: Tensor
        self.register_buffer("band_order", torch.tensor(band_order), persistent=False)
        weights = torch.full((KERNELS, 1, KERNEL_LENGTH), -1.0)
        for kernel, places in enumerate(itertools.combinations(range(KERNEL_LENGTH), 3)):
            weights[kernel, 0, list(places)] = 2.0
        self.register_buffer("weights", weights, persistent=False)
        self.counts = dilations(len(band_order), features // KERNELS)
        # Without training examples: quantiles of what standard normal sequences would give.
        spread = float(weights[0].square().sum().sqrt())
        for number, count in enumerate(self.counts.values()):
            quantiles = self._quantiles(number, count)
            biases = spread * torch.special.ndtri(quantiles)
            self.register_buffer(f"biases_{number}", biases.float())

    def _quantiles(self, number: int, count: int) -> Tensor:
        """Quantiles `[84, count]` for a dilation: multiples of the golden ratio, modulo 1, over all features."""
        before = sum(list(self.counts.values())[:number]) * KERNELS
        places = torch.arange(1, KERNELS * count + 1, dtype=torch.float64) + before
        return ((places * GOLDEN) % 1).reshape(KERNELS, count)

    def biases(self, number: int) -> Tensor:
        """Biases `[84, count]` of a dilation."""
        return cast(Tensor, getattr(self, f"biases_{number}"))

    def convolved(self, spectra_NC: Tensor, dilation: int) -> Tensor:
        """Results `[N, 84, C]` of all kernels with zeros around the sequence."""
        # In full precision always: a bias is compared with the result, and mixed precision would move both.
        with torch.autocast(spectra_NC.device.type, enabled=False):
            sequences = spectra_NC.to(self.weights.dtype).index_select(1, self.band_order).unsqueeze(1)
            return functional.conv1d(sequences, self.weights, dilation=dilation, padding=4 * dilation)

    @torch.no_grad()
    def fit(self, spectra_NC: np.ndarray) -> None:
        """Set each kernel's biases at each dilation to quantiles of its results on one example of a fixed draw."""
        spectra = torch.from_numpy(spectra_NC)
        generator = torch.Generator().manual_seed(0)
        for number, (dilation, count) in enumerate(self.counts.items()):
            chosen = torch.randint(len(spectra), (KERNELS,), generator=generator)
            results = self.convolved(spectra[chosen].to(self.weights.device), dilation).double()
            quantiles = self._quantiles(number, count).to(results.device)
            for kernel in range(KERNELS):
                seen = results[kernel, kernel, _seen(kernel, number, dilation, results.shape[2])]
                self.biases(number)[kernel] = torch.quantile(seen, quantiles[kernel]).float()

    @torch.no_grad()
    def forward(self, spectra_NC: Tensor) -> Tensor:
        """The share of places where each kernel's result exceeds each of its biases."""
        parts = []
        for number, dilation in enumerate(self.counts):
            results, biases = self.convolved(spectra_NC, dilation), self.biases(number)
            for first in (0, 1):
                places = _seen(first, number, dilation, results.shape[2])
                parts.append(_shares(results[:, first::2, places], biases[first::2]))
        return torch.cat(parts, dim=1)


class MiniRocketModel(nn.Module):
    """Logits `[B, K, H, W]` of single pixels: the fixed features, BatchNorm and a linear layer, which are trained."""

    def __init__(self, band_order: list[int], *, features: int, classes: int) -> None:
        super().__init__()
        self.features = MiniRocketFeatures(band_order, features)
        self.classifier = nn.Sequential(nn.BatchNorm1d(features), nn.Linear(features, classes))

    def forward(self, x_BCHW: Tensor) -> Tensor:
        """Logits of every pixel."""
        batch, bands, height, width = x_BCHW.shape
        pixels_NC = x_BCHW.permute(0, 2, 3, 1).reshape(-1, bands)
        parts = torch.split(pixels_NC, PIXELS_AT_ONCE)
        if self.training:
            # BatchNorm takes its statistics over the whole batch.
            logits_NK = self.classifier(torch.cat([self.features(part) for part in parts]))
        else:
            logits_NK = torch.cat([self.classifier(self.features(part)) for part in parts])
        logits: Tensor = logits_NK.reshape(batch, height, width, -1).permute(0, 3, 1, 2)
        return logits


def _seen(kernel: int, number: int, dilation: int, length: int) -> slice:
    """The places that count: all, or those where the kernel touches no padding."""
    edge = 4 * dilation * ((kernel + number) % 2)
    return slice(edge, length - edge)


def _shares(results_NKL: Tensor, biases_KF: Tensor) -> Tensor:
    """`[N, K * F]`: place by place, since all comparisons at once would not fit into memory."""
    counts = results_NKL.new_zeros(len(results_NKL), *biases_KF.shape)
    for place in range(results_NKL.shape[2]):
        counts += results_NKL[:, :, place, None] > biases_KF
    return (counts / results_NKL.shape[2]).flatten(1)
