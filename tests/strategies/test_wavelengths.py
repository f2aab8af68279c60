"""The control that tells a wavelength-conditioned model wrong wavelengths."""

import numpy as np
import pytest

from strategies._base import StrategyError
from strategies._checks import check_nanometres
from strategies._wavelengths import shuffled, spacings_nm, told


@pytest.mark.parametrize("num_bands", [2, 3, 4, 5, 7, 15, 25, 128, 200, 426])
def test_shuffling_keeps_the_centres_and_gives_every_band_another_ones(num_bands):
    centres = np.linspace(400, 2450, num_bands).tolist()
    mixed = shuffled(centres)
    assert sorted(mixed) == sorted(centres)
    assert all(a != b for a, b in zip(mixed, centres, strict=True))


def test_the_order_is_the_same_in_every_run_and_no_gentle_one():
    centres = np.linspace(400, 2450, 200)
    assert shuffled(centres) == shuffled(centres.tolist())
    # a shift by one band, say, would be no control: the order has to be lost
    assert abs(np.corrcoef(shuffled(centres), centres)[0, 1]) < 0.2
    # written down, so that a change of Python or of the seed does not change the control unseen
    assert shuffled([1.0, 2.0, 3.0, 4.0, 5.0]) == (2.0, 1.0, 5.0, 3.0, 4.0)


def test_a_model_is_told_what_its_field_says():
    centres = [500.0, 600.0, 700.0]
    assert told(centres, "true") == (500.0, 600.0, 700.0)
    assert told(centres, "shuffled") == shuffled(centres)


def test_spacing_stands_in_for_bandwidth_in_any_order_of_bands():
    assert spacings_nm([400, 410, 430]) == (10, 15, 20)
    assert spacings_nm([430, 400, 410]) == (20, 10, 15)
    assert spacings_nm([500]) == (1,)
    assert spacings_nm([500, 500, 500.4]) == (1, 1, 1)


def test_micrometres_are_refused_where_nanometres_are_due():
    check_nanometres([100, 400, 2500, 20_000])
    with pytest.raises(StrategyError, match=r"band centre 0\.47 is out of range; allowed: nanometres.*micrometres"):
        check_nanometres([0.47, 0.64])
    with pytest.raises(StrategyError, match="band centre 40000 is out of range; allowed: nanometres, 100 to 20000$"):
        check_nanometres([500, 40_000])
