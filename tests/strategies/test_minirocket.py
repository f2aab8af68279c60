"""MiniROCKET against the paper's definitions, worked out slowly."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import torch

from strategies._base import StrategyError
from strategies.backbones.minirocket import KERNELS, MiniRocketFeatures, dilations
from strategies.registry import get_strategy


def fitted(bands: int, features: int = 3 * KERNELS) -> tuple[MiniRocketFeatures, np.ndarray]:
    spectra = np.random.default_rng(0).normal(size=(40, bands)).astype(np.float32)
    transform = MiniRocketFeatures(list(range(bands)), features)
    transform.fit(spectra)
    return transform, spectra


def slow_share(spectrum: np.ndarray, places: tuple[int, ...], dilation: int, bias: float, *, padded: bool) -> float:
    """The definition: at each place the sum of nine weighted neighbours; how often it exceeds the bias."""
    results = []
    for centre in range(len(spectrum)):
        touched = [centre + (tap - 4) * dilation for tap in range(9)]
        if not padded and not (touched[0] >= 0 and touched[-1] < len(spectrum)):
            continue
        weights = [2.0 if tap in places else -1.0 for tap in range(9)]
        inside = [(w, at) for w, at in zip(weights, touched, strict=True) if 0 <= at < len(spectrum)]
        results.append(sum(w * float(spectrum[at]) for w, at in inside))
    return sum(result > bias for result in results) / len(results)


@pytest.mark.parametrize("bands", [9, 15, 25, 128])
def test_features_are_the_shares_that_the_definition_gives(bands: int) -> None:
    transform, spectra = fitted(bands)
    found = transform(torch.from_numpy(spectra[:2])).numpy()
    kernels = list(itertools.combinations(range(9), 3))
    at = 0
    for number, (dilation, count) in enumerate(transform.counts.items()):
        for first in (0, 1):
            for kernel in range(first, KERNELS, 2):
                if kernel in (0, 1, 46, 83):
                    for feature in range(count):
                        bias = float(transform.biases(number)[kernel, feature])
                        padded = (kernel + number) % 2 == 0
                        wanted = [slow_share(s, kernels[kernel], dilation, bias, padded=padded) for s in spectra[:2]]
                        assert found[:, at + feature] == pytest.approx(wanted, abs=1e-6)
                at += count
    assert at == found.shape[1] == 3 * KERNELS


@pytest.mark.parametrize(("bands", "wanted"), [(9, [1]), (15, [1]), (25, [1, 2, 3]), (128, list(range(1, 16)))])
def test_kernels_are_never_longer_than_the_spectrum(bands: int, wanted: list[int]) -> None:
    found = dilations(bands, 119)
    assert set(found) <= set(wanted)
    assert max(found) == max(wanted)
    assert sum(found.values()) == 119
    assert min(found.values()) > 0


def test_biases_split_the_results_on_training_spectra() -> None:
    transform, spectra = fitted(25)
    shares = transform(torch.from_numpy(spectra))
    assert 0.3 < float(shares.mean()) < 0.7
    assert ((shares > 0) & (shares < 1)).float().mean() > 0.6


def test_the_spectrum_is_read_in_the_order_of_wavelength() -> None:
    bands = np.random.default_rng(1).permutation(25)
    strategy = get_strategy("in_domain/minirocket")(features=KERNELS)
    asked = {"num_classes": 3, "image_size": 1, "num_bands": 25}
    models = []
    for wavelengths in (np.arange(25) + 400.0, bands + 400.0):
        torch.manual_seed(0)
        models.append(strategy.build(wavelengths_nm=tuple(float(w) for w in wavelengths), **asked).eval())
    x = torch.randn(1, 25, 2, 3)
    assert torch.equal(models[0](x), models[1](x[:, torch.from_numpy(bands)]))


def test_a_number_of_features_that_the_kernels_cannot_share_is_refused() -> None:
    with pytest.raises(StrategyError, match="set it to 9996"):
        get_strategy("in_domain/minirocket")(features=10_000)
