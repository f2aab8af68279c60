"""The baselines of HS3-Bench: their published sizes, and what each input shows."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from strategies._base import StrategyError
from strategies._rgb import choose_rgb
from strategies.adaptation import count_parameters
from strategies.backbones.band_inputs import PerImageComponents, PrincipalComponents
from strategies.registry import make_strategy

SENSORS = {"hyko2": (15, 11), "hsi_drive": (25, 10), "hcv2": (128, 20)}
"""Bands, and output classes with the undefined one, as the published models have them."""
PUBLISHED = {
    "in_domain/hs3_unet": {"hyko2": 17.266e6, "hsi_drive": 17.272e6, "hcv2": 17.332e6},
    "in_domain/runet": {"hyko2": 17.271e6, "hsi_drive": 17.276e6, "hcv2": 17.336e6},
}


def build(name, bands, classes, **fields):
    strategy = make_strategy(name, fields)
    return strategy.build(num_bands=bands, wavelengths_nm=None, num_classes=classes, image_size=64)


@pytest.mark.parametrize("sensor", SENSORS)
@pytest.mark.parametrize("name", PUBLISHED)
def test_u_nets_have_the_published_number_of_parameters(name, sensor):
    total, trained = count_parameters(build(name, *SENSORS[sensor]))
    assert total == trained
    assert total == pytest.approx(PUBLISHED[name][sensor], abs=500)


@pytest.mark.parametrize("sensor", SENSORS)
def test_deeplab_has_the_published_number_of_parameters(sensor):
    total, _ = count_parameters(build("in_domain/deeplabv3plus", *SENSORS[sensor]))
    assert 5.2225e6 <= total <= 5.2265e6


def test_components_of_the_training_set_are_those_of_scikit_learn():
    from sklearn.decomposition import PCA

    spectra = np.random.default_rng(0).normal(size=(500, 6)).astype(np.float32) @ np.diag([5, 3, 2, 1, 1, 1])
    spectra = spectra.astype(np.float32)
    layer = PrincipalComponents(6, 2)
    layer.fit(spectra)
    ours = layer(torch.from_numpy(spectra.T.reshape(1, 6, 20, 25)))[0].flatten(1).T.numpy()
    theirs = PCA(2).fit_transform(spectra)
    np.testing.assert_allclose(np.abs(ours), np.abs(theirs), atol=1e-3)


def test_components_of_each_image_give_the_same_material_another_value():
    layer = PerImageComponents(1)
    material = torch.tensor([1.0, 2.0, 3.0])
    images = torch.rand(2, 3, 8, 8, generator=torch.Generator().manual_seed(0))
    images[1] *= 3
    images[:, :, 0, 0] = material
    shown = layer(images)
    assert not torch.isclose(shown[0, 0, 0, 0], shown[1, 0, 0, 0])


def test_components_leave_the_checkpoint_s_way_of_looking_alone_after_a_reload():
    model = build("in_domain/runet", 15, 3, input="pca", components=3).eval()
    make_strategy("in_domain/runet", {"input": "pca", "components": 3}).initialise_from_data(
        model, np.random.default_rng(1).random((64, 15)).astype(np.float32)
    )
    other = build("in_domain/runet", 15, 3, input="pca", components=3).eval()
    other.load_state_dict(model.state_dict())
    x = torch.rand(1, 15, 16, 16)
    torch.testing.assert_close(other(x), model(x))


@pytest.mark.parametrize(
    ("wavelengths_nm", "rgb_bands", "bands"),
    [((450, 540, 650, 900), "", (2, 1, 0)), ((900, 650, 540, 450), "", (1, 2, 3)), (None, "3,1,0", (3, 1, 0))],
)
def test_pseudo_rgb_takes_the_nearest_bands_in_any_order_or_the_named_ones(wavelengths_nm, rgb_bands, bands):
    assert choose_rgb(4, wavelengths_nm, rgb_bands) == bands


@pytest.mark.parametrize("rgb_bands", ["1,2", "1,2,4", "a,b,c", "-1,0,1"])
def test_bands_that_are_not_there_are_refused(rgb_bands):
    with pytest.raises(StrategyError, match="0 to 3"):
        choose_rgb(4, None, rgb_bands)


def test_pseudo_rgb_without_wavelengths_is_blocked_at_plan_time():
    strategy = make_strategy("in_domain/deeplabv3plus", {"input": "pseudo_rgb"})
    with pytest.raises(StrategyError, match="rgb_bands"):
        strategy.check_sensor(19, None)


@pytest.mark.parametrize(("sensor", "parameters"), [("hyko2", 176), ("hsi_drive", 260), ("hcv2", 2580)])
def test_the_linear_classifier_has_the_published_number_of_parameters(sensor, parameters):
    assert count_parameters(build("in_domain/mlp", *SENSORS[sensor])) == (parameters, parameters)
