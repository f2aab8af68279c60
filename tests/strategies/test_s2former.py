"""S2Former's reconstruction: masks that hide, bands of any sensor, constraints that bind, a pretraining that learns."""

import math

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from strategies._base import Bands, StrategyError
from strategies.backbones.band_adapters import CommonGrid, make_adapter
from strategies.backbones.s2former import S2Encoder, Sizes, draw_pixel_mask
from strategies.objectives.frequency import FrequencyConstraint
from strategies.registry import make_strategy

SMALL = {"common_bands": 32, "patch": 5, "width": 16, "depth": 2, "heads": 2}
GRID = CommonGrid(128, 4, 400, 2500)
RIVALS = ("s2former", "spectral_mae", "supervised_source")


def strategy(name="s2former", **values):
    small = {**SMALL, **({} if name == "supervised_source" else {"decoder_width": 16})}
    return make_strategy(f"cross_domain/{name}", {**small, **values})


def wavelengths(count, low=420.0, high=2450.0):
    return tuple(np.linspace(low, high, count).tolist())


def windows(indian_pines, count, side=5):
    cube_HWC, labels_HW = indian_pines
    rng = np.random.default_rng(0)
    corners = rng.integers(0, 145 - side, size=(count, 2))
    x = np.stack([cube_HWC[r : r + side, c : c + side] for r, c in corners]).transpose(0, 3, 1, 2)
    y = np.array([labels_HW[r + side // 2, c + side // 2] for r, c in corners])
    return torch.from_numpy(np.ascontiguousarray(x)), torch.from_numpy(y)


# --- what is hidden stays hidden ------------------------------------------------------------------------------------


def test_no_gradient_of_any_token_reaches_a_hidden_pixel():
    encoder = S2Encoder(Sizes(32, 4, 5, 16, 3, 2, 4))
    x = torch.randn(6, 32, 5, 5, requires_grad=True)
    mask = draw_pixel_mask(6, 5, 0.75, x.device)
    pixels, groups = encoder.tokens(x, mask)
    (pixels.sin().sum() + groups.sin().sum()).backward()
    reached = x.grad.abs().amax(1).flatten(1)
    assert mask.hidden_NP.sum(1).tolist() == [18] * 6
    assert not mask.hidden_NP[:, 12].any()
    assert float(reached[mask.hidden_NP].max()) == 0.0
    assert float(reached[~mask.hidden_NP].min()) > 0.0


def test_masks_are_drawn_from_the_global_generator():
    def drawn():
        return draw_pixel_mask(8, 9, 0.75, torch.device("cpu")).visible_NV

    torch.manual_seed(3)
    first, other = drawn(), drawn()
    torch.manual_seed(3)
    assert torch.equal(first, drawn())
    assert not torch.equal(first, other)


def test_a_pretraining_step_depends_on_the_seed_alone(indian_pines):
    x, y = windows(indian_pines, 8)
    module = strategy().build_pretrainer([Bands(200, wavelengths(200), 16)])

    def loss(seed):
        torch.manual_seed(seed)
        return float(module(x, y, 0)["loss"].detach())

    assert loss(1) == loss(1) != loss(2)


# --- bands ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["resample", "pool", "mapping"])
@pytest.mark.parametrize("bands", [19, 103, 224, 426])
def test_adapters_take_sensors_of_any_number_of_bands(kind, bands):
    shuffled = np.random.default_rng(bands).permutation(wavelengths(bands)).tolist()
    for known in (shuffled, None):
        adapter = make_adapter(kind, GRID, bands, known, on_wavelengths=known is not None)
        common = adapter(torch.randn(2, bands, 3, 3))
        assert common.shape == (2, 128, 3, 3)
        assert bool(torch.isfinite(common).all())


def test_resampled_bands_hold_what_the_wavelength_says_in_any_order_of_the_cube():
    known = np.random.default_rng(0).permutation([*wavelengths(217), 1000.0, 1000.0]).tolist()
    adapter = make_adapter("resample", GRID, len(known), known, on_wavelengths=True)
    common = adapter(torch.tensor(known).view(1, -1, 1, 1)).flatten()
    inside = adapter.present_K.numpy() & (np.linspace(400, 2500, 128) >= 420) & (np.linspace(400, 2500, 128) <= 2450)
    np.testing.assert_allclose(common.numpy()[inside], np.linspace(400, 2500, 128)[inside], rtol=1e-5)


def test_groups_of_bands_that_the_sensor_does_not_have_are_left_out():
    model = strategy(init="random").build(
        num_bands=25, wavelengths_nm=wavelengths(25, 600, 975), num_classes=3, image_size=5
    )
    pixels, groups = model.backbone.tokens(model.stem(torch.randn(2, 25, 5, 5)))
    assert groups.shape[1] == 1 + len(model.stem.groups) < 1 + 32 // 4
    assert model.eval()(torch.randn(1, 25, 6, 7)).shape == (1, 3, 6, 7)


def test_bands_that_lie_nowhere_on_the_grid_are_refused():
    with pytest.raises(StrategyError, match="widen"):
        strategy(init="random").check_sensor(10, wavelengths(10, 0.42, 2.45))
    with pytest.raises(StrategyError, match="grid: index"):
        strategy(grid="wavelength", init="random").check_sensor(10, None)
    with pytest.raises(StrategyError, match="1 of 2 sources"):
        strategy().build_pretrainer([Bands(20, wavelengths(20), 3), Bands(20, None, 3)])


# --- the frequency constraint ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("axes", ["spatial", "spectral"])
@pytest.mark.parametrize("shape", [(2, 16, 9, 9), (2, 15, 8, 8)])
def test_the_squared_distance_is_the_pixels_mean_squared_error_and_the_default_is_not(axes, shape):
    target, difference = torch.randn(shape), torch.randn(shape)
    errors = []
    for distance in ("l2", "l1"):
        constraint = FrequencyConstraint(axes=axes, distance=distance)
        errors.append(float(constraint(constraint.spectra(target), difference).consistency))
    assert errors[0] == pytest.approx(float(difference.square().mean()), rel=1e-5)
    assert errors[1] != pytest.approx(errors[0], rel=0.01)


def test_only_detail_counts_as_high_frequency():
    constraint = FrequencyConstraint(axes="spatial", cutoff=0.25)
    spectra = constraint.spectra(torch.zeros(1, 4, 8, 8))
    flat, checks = torch.ones(1, 4, 8, 8), (torch.arange(8)[:, None] + torch.arange(8)) % 2 * 2.0 - 1
    assert float(constraint(spectra, flat).high_magnitude) < 1e-5
    assert float(constraint(spectra, checks.expand(1, 4, 8, 8)).high_magnitude) > 0.1


@pytest.mark.parametrize("distance", ["l1", "l2", "log", "focal"])
def test_gradients_of_the_constraint_are_finite_where_nothing_differs(distance):
    constraint = FrequencyConstraint(distance=distance)
    difference = torch.zeros(1, 8, 5, 5, requires_grad=True)
    terms = constraint(constraint.spectra(torch.zeros(1, 8, 5, 5)), difference)
    (terms.consistency + terms.high_magnitude).backward()
    assert bool(torch.isfinite(difference.grad).all())


# --- pretraining ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", RIVALS)
def test_a_few_steps_of_pretraining_lower_the_loss_on_a_real_scene(name, indian_pines):
    x, y = windows(indian_pines, 64)
    module = strategy(name).build_pretrainer([Bands(200, wavelengths(200), 16)])
    optimiser = torch.optim.AdamW(module.parameters(), lr=3e-3)
    history = []
    for step in range(25):
        torch.manual_seed(step)
        terms = module(x, y, 0)
        terms["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        history.append({name: float(value.detach()) for name, value in terms.items()})
    losses = [terms["loss"] for terms in history]
    assert np.mean(losses[-3:]) < 0.9 * np.mean(losses[:3])
    assert all(math.isfinite(value) for terms in history for value in terms.values())


@pytest.mark.parametrize("adapter", ["resample", "mapping"])
@pytest.mark.parametrize("name", RIVALS)
def test_every_parameter_has_a_gradient_whichever_source_a_step_is_of(name, adapter):
    extra = {"spectral_mask_ratio": 0.3, "consistency_weight": 0.1} if name == "s2former" else {}
    module = strategy(name, adapter=adapter, **extra).build_pretrainer(
        [Bands(24, wavelengths(24), 4), Bands(19, wavelengths(19, 600, 1000), 3)]
    )
    for source, bands in enumerate((24, 19)):
        module.zero_grad()
        module(torch.randn(6, bands, 5, 5), torch.tensor([0, 1, 2, -1, 0, 1]), source)["loss"].backward()
        assert [key for key, p in module.named_parameters() if p.grad is None] == []


@pytest.mark.parametrize("name", RIVALS)
def test_a_built_model_has_the_features_of_the_pretrained_encoder(name, tmp_path):
    pretrained = strategy(name)
    module = pretrained.build_pretrainer([Bands(60, wavelengths(60), 4)]).eval()
    save_file(module.encoder_state(), tmp_path / "encoder.safetensors")
    facts = {"num_bands": 60, "wavelengths_nm": wavelengths(60), "num_classes": 7, "image_size": 5}
    model = pretrained.build(**facts, weights_path=str(tmp_path / "encoder.safetensors")).eval()
    x = torch.randn(3, 60, 5, 5)
    with torch.no_grad():
        assert torch.equal(model.window_features(x), module.encoder(module.common(x, 0)))
        dense = model(x)[:, :, 2, 2]
        torch.testing.assert_close(dense, model.classify(x))


def test_weights_of_another_encoder_or_none_are_refused(tmp_path):
    facts = {"num_bands": 60, "wavelengths_nm": wavelengths(60), "num_classes": 7, "image_size": 5}
    module = strategy(depth=1).build_pretrainer([Bands(60, wavelengths(60), 4)])
    path = str(tmp_path / "encoder.safetensors")
    save_file(module.encoder_state(), path)
    with pytest.raises(StrategyError, match="keys differ"):
        strategy().build(**facts, weights_path=path)
    with pytest.raises(StrategyError, match="weights_path"):
        strategy().build(**facts)
    (tmp_path / "encoder.safetensors").write_bytes(b"cut off")
    with pytest.raises(StrategyError, match="cannot be read"):
        strategy().build(**facts, weights_path=path)


def test_an_encoder_of_band_numbers_keeps_to_them_on_a_target_with_wavelengths(tmp_path):
    module = strategy().build_pretrainer([Bands(60, None, 4)])
    save_file(module.encoder_state(), tmp_path / "encoder.safetensors")
    model = strategy().build(
        num_bands=25,
        wavelengths_nm=wavelengths(25, 600, 975),
        num_classes=7,
        image_size=5,
        weights_path=str(tmp_path / "encoder.safetensors"),
    )
    assert len(model.stem.groups) == 8


@pytest.mark.parametrize("name", RIVALS)
def test_a_saved_model_predicts_on_the_grid_that_it_was_pretrained_on(name, tmp_path):
    module = strategy(name).build_pretrainer([Bands(60, None, 4)])
    save_file(module.encoder_state(), tmp_path / "encoder.safetensors")
    facts = {"num_bands": 25, "wavelengths_nm": wavelengths(25, 600, 975), "num_classes": 7, "image_size": 5}
    trained = strategy(name).build(**facts, weights_path=str(tmp_path / "encoder.safetensors")).eval()
    restored = strategy(name, init="random").build(**facts).eval()
    restored.load_state_dict(trained.state_dict())
    x = torch.randn(1, 25, 6, 7)
    with torch.no_grad():
        assert torch.equal(restored(x), trained(x))


# --- what a strategy says of itself ---------------------------------------------------------------------------------


def test_the_pretraining_depends_on_what_changes_it_and_on_nothing_of_the_fine_tuning():
    stage = strategy(source="enmap_potsdam + salinas_a", pretrain_steps=7).own_pretraining()
    assert (stage.sources, stage.steps, stage.is_supervised) == (("enmap_potsdam", "salinas_a"), 7, False)
    assert {"mask_ratio", "width", "frequency_weight"} <= set(stage.fields)
    assert not {"dropout", "daft", "learning_rate", "position_weight", "source"} & set(stage.fields)
    assert strategy(pool="target").own_pretraining().sources == ()
    assert strategy("supervised_source").own_pretraining().is_supervised
    assert strategy(init="random").own_pretraining() is None


@pytest.mark.parametrize(
    ("values", "text"),
    [
        ({"patch": 4}, "patch 4 is even"),
        ({"common_bands": 30}, "no multiple of group_bands"),
        ({"source": " + "}, "names no data set"),
        ({"diffusion_levels": "10+400"}, "diffusion_levels '10\\+400'"),
        ({"diffusion_levels": "ten"}, "whole numbers"),
        ({"adapter": "mapping", "regime": "frozen"}, "would never train it"),
        ({"mask_ratio": 1.0}, "mask_ratio 1.0 is out of range"),
        ({"daft": "maybe"}, "daft 'maybe' is not offered"),
    ],
)
def test_values_that_cannot_be_are_refused_with_what_to_do(values, text):
    with pytest.raises(StrategyError, match=text):
        strategy(**values)


def test_yamls_on_and_off_are_understood():
    assert (strategy(daft=False).daft, strategy(daft=True).daft) == ("off", "on")
    assert not strategy(daft=False).is_aligned
    assert strategy(regime="frozen").unlabelled_windows == 0
