"""Networks of windows from the literature: as large as published, tokens that are means, groups that overlap."""

import numpy as np
import pytest
import torch

from strategies._base import StrategyError
from strategies.adaptation import count_parameters
from strategies.backbones.spectralformer import CrossLayerFusion, GroupEmbedding
from strategies.backbones.ssftt import Tokenizer, WhitenedComponents
from strategies.registry import make_strategy

NAMES = ("cnn3d", "ssftt", "spectralformer")


def build(name, num_bands=200, num_classes=16, **fields):
    strategy = make_strategy(f"in_domain/{name}", fields)
    return strategy, strategy.build(num_bands=num_bands, wavelengths_nm=None, num_classes=num_classes, image_size=32)


@pytest.mark.parametrize(
    ("name", "fields", "num_bands", "num_classes", "parameters"),
    [
        # counted in the weights that the authors have published
        ("ssftt", {}, 200, 16, 153_224),
        ("spectralformer", {}, 200, 16, 355_577),
        ("spectralformer", {"patch": 1}, 144, 15, 226_288),
    ],
)
def test_a_rival_has_as_many_parameters_as_its_authors_weights(name, fields, num_bands, num_classes, parameters):
    _, model = build(name, num_bands, num_classes, **fields)
    assert count_parameters(model)[0] == parameters


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("num_bands", [19, 426])
def test_any_number_of_bands_is_classified_alike_in_windows_and_in_images(name, num_bands):
    strategy, model = build(name, num_bands)
    side = strategy.window_px
    x = torch.randn(2, num_bands, side, side)
    with torch.no_grad():
        of_windows = model.eval().classify(x)
        of_images = model(x)[:, :, side // 2, side // 2]
    assert model.train()(x).shape == (2, 16, 1, 1)
    torch.testing.assert_close(of_windows, of_images, rtol=1e-4, atol=1e-4)


def test_the_weights_of_a_token_add_up_to_one():
    tokenizer = Tokenizer(8, 4)
    places = torch.randn(3, 25, 8)
    assert tokenizer.weights(places).shape == (3, 4, 25)
    torch.testing.assert_close(tokenizer.weights(places).sum(-1), torch.ones(3, 4))
    # all places alike: every token is the value of that place
    same = places[:, :1].expand(-1, 25, -1)
    torch.testing.assert_close(tokenizer(same), (same @ tokenizer.value)[:, :4])


def test_components_are_white_on_training_spectra_and_silent_where_there_are_too_few():
    rng = np.random.default_rng(0)
    spectra = (rng.normal(size=(400, 3)) * [9, 3, 1]) @ rng.normal(size=(3, 40)) + 5
    stem = WhitenedComponents(40, 6)
    stem.fit(spectra)
    made = stem(torch.from_numpy(spectra.astype(np.float32))[:, :, None, None])[:, :, 0, 0]
    torch.testing.assert_close(made.mean(0), torch.zeros(6), rtol=0, atol=1e-3)
    torch.testing.assert_close(made.std(0, correction=0)[:3], torch.ones(3), rtol=1e-3, atol=1e-3)
    assert float(made[:, 3:].abs().max()) == 0.0


def test_training_spectra_set_the_components_of_ssftt():
    strategy, model = build("ssftt", 40)
    before = model.stem.axes.clone()
    strategy.initialise_from_data(model, np.random.default_rng(0).normal(size=(500, 40)))
    assert not torch.equal(before, model.stem.axes)
    assert not [name for name, _ in model.named_parameters() if name.startswith("stem")]


def test_groups_of_neighbouring_bands_overlap_and_have_their_band_in_the_middle():
    embed = GroupEmbedding(10, group=5, side_px=1, width=4)
    members = embed.members_CG.tolist()
    assert members[4] == [2, 3, 4, 5, 6]
    assert members[5] == [3, 4, 5, 6, 7]
    assert members[0] == [8, 9, 0, 1, 2]
    x = torch.randn(1, 10, 1, 1, requires_grad=True)
    embed(x)[0, 4].sum().backward()
    assert torch.nonzero(x.grad.flatten()).flatten().tolist() == [2, 3, 4, 5, 6]


def test_fusion_mixes_a_layer_with_the_one_two_before_it():
    fusion = CrossLayerFusion(3)
    recent, earlier = torch.randn(2, 3, 4, requires_grad=True), torch.randn(2, 3, 4, requires_grad=True)
    fusion(recent, earlier).sum().backward()
    assert bool((recent.grad != 0).all())
    assert bool((earlier.grad != 0).all())
    with_it, without = (count_parameters(build("spectralformer", 20, fusion=fusion)[1])[0] for fusion in ("on", "off"))
    assert with_it - without == 3 * (2 * 21 * 21 + 21)


@pytest.mark.parametrize(
    ("name", "fields", "text"),
    [
        ("cnn3d", {"patch": 4}, "patch 4 is even"),
        ("ssftt", {"patch": 3}, "patch 3 is out of range; allowed: 5 to 65"),
        ("ssftt", {"heads": 3}, "width 64 is no multiple of heads 3"),
        ("spectralformer", {"group_bands": 4}, "group_bands 4 is even"),
    ],
)
def test_fields_that_do_not_fit_are_refused(name, fields, text):
    with pytest.raises(StrategyError, match=text):
        make_strategy(f"in_domain/{name}", fields)


def test_groups_wider_than_the_sensor_are_refused():
    with pytest.raises(StrategyError, match="group_bands 7: the data set has 5 bands"):
        build("spectralformer", 5, group_bands=7)
