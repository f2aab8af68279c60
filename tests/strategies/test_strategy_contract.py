"""The contract of DESIGN section 10, for every strategy there is, in every regime and initialisation it offers."""

import copy
import itertools
import pickle
from dataclasses import fields

import numpy as np
import pytest
import torch
from torch import nn

from strategies import registry
from strategies._base import Categorical, StrategyError
from strategies.adaptation import count_parameters, trainable_parameters
from strategies.objectives.segmentation import cross_entropy

NUM_CLASSES = 5


def kinds(kind):
    return [name for name in registry.list_strategies() if registry.get_strategy(name).kind == kind]


def variants():
    """Name, regime and init of everything a network strategy offers, controls included."""
    for name in kinds("network"):
        strategy = registry.get_strategy(name)
        inits = ("pretrained", "random") if strategy.pretraining else ("random",)
        yield from ((name, regime, init) for regime, init in itertools.product(strategy.regimes, inits))


VARIANTS = list(variants())
NETWORKS = kinds("network")


def build(strategy, weights_paths, num_bands=24, num_classes=NUM_CLASSES):
    path = None
    if strategy.init == "pretrained":
        path = weights_paths.get(strategy.pretraining.weights)
        if path is None:
            pytest.skip(f"weights {strategy.pretraining.weights} are not at hand")
    wavelengths_nm = np.linspace(420, 2400, num_bands).tolist()
    return strategy.build(
        num_bands=num_bands, wavelengths_nm=wavelengths_nm, num_classes=num_classes, image_size=32, weights_path=path
    )


def make(name, regime="full", init="random", **values):
    return registry.make_strategy(name, {"regime": regime, "init": init, **values})


def batch(num_bands=24, size=(17, 22)):
    """Two images in reflectance's range, labels with unlabelled pixels."""
    return torch.rand(2, num_bands, *size), torch.randint(-1, NUM_CLASSES, (2, *size))


def take_step(strategy, model, x, target):
    model.train()
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    loss_sum, count = cross_entropy(model(x), target)
    (loss_sum / count).backward()
    optimiser.step()


@pytest.mark.parametrize("name", registry.list_strategies())
def test_datasheet_is_complete(name):
    strategy = registry.get_strategy(name)
    instance = strategy()
    assert strategy.summary
    assert strategy.reference_step_s > 0
    assert strategy.implementation_version >= 1
    assert instance.receptive_field_px >= 1
    assert instance.receptive_field_px % 2 == 1


@pytest.mark.parametrize("name", registry.list_strategies())
def test_search_space_has_at_most_four_fields_and_holds_the_defaults(name):
    strategy = registry.get_strategy(name)
    for regime in strategy.regimes:
        instance = registry.make_strategy(name, {"regime": regime})
        space = instance.space()
        assert len(space) <= 4
        assert set(space) <= {f.name for f in fields(instance)}
        for key, distribution in space.items():
            default = getattr(instance, key)
            if isinstance(distribution, Categorical):
                assert default in distribution.choices
            else:
                assert distribution.low <= default <= distribution.high
                registry.make_strategy(name, {"regime": regime, key: distribution.low})
                registry.make_strategy(name, {"regime": regime, key: distribution.high})


@pytest.mark.parametrize("name", registry.list_strategies())
def test_a_strategy_survives_pickle(name):
    instance = registry.make_strategy(name)
    assert pickle.loads(pickle.dumps(instance)) == instance


@pytest.mark.parametrize("num_bands", [10, 31, 200])
@pytest.mark.parametrize("name", NETWORKS)
def test_logits_have_one_score_a_class_and_pixel_at_any_size(name, num_bands):
    model = build(make(name), {}, num_bands=num_bands).eval()
    for size in ((1, 1), (17, 22), (5, 64)):
        with torch.no_grad():
            logits = model(torch.rand(2, num_bands, *size))
        assert logits.shape == (2, NUM_CLASSES, *size)
        assert logits.dtype == torch.float32
        assert torch.isfinite(logits).all()


@pytest.mark.parametrize(("name", "regime", "init"), VARIANTS)
def test_a_regime_trains_what_it_promises(name, regime, init, weights_paths):
    model = build(make(name, regime, init), weights_paths)
    total, trained = count_parameters(model)
    names = trainable_parameters(model)
    if regime == "full":
        assert trained == total
        return
    assert 0 < trained < total
    parts = {"frozen": {"head"}, "stem": {"stem", "head"}, "lora": {"stem", "backbone", "head"}}[regime]
    if not list(model.stem.parameters()):
        parts -= {"stem"}
    assert {key.split(".")[0] for key in names} == parts
    if regime == "lora":
        assert all("lora_" in key for key in names if key.startswith("backbone"))
    assert {key for key in names if key.startswith("head")} == {
        f"head.{key}" for key, _ in model.head.named_parameters()
    }


@pytest.mark.parametrize(("name", "regime", "init"), VARIANTS)
def test_what_is_frozen_stays_bit_identical_in_training(name, regime, init, weights_paths):
    strategy = make(name, regime, init)
    model = build(strategy, weights_paths)
    training = set(trainable_parameters(model))
    parts = tuple(f"{part}." for part in getattr(model, "frozen_parts", ()))
    assert bool(parts) == (regime != "full")
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        take_step(strategy, model, *batch())
    after = model.state_dict()
    fixed = [key for key in after if key.startswith(parts) and key not in training] if parts else []
    assert [key for key in fixed if not torch.equal(before[key], after[key])] == []
    assert [key for key in training if not torch.equal(before[key], after[key])]


@pytest.mark.parametrize("regime", ["frozen", "stem", "lora", "full"])
def test_running_statistics_of_batchnorm_drift_in_the_regime_full_only(regime):
    strategy = make("cross_modality/efficientnet_lite0", regime)
    model = build(strategy, {})
    before = copy.deepcopy(dict(model.backbone.named_buffers()))
    take_step(strategy, model, *batch())
    drifted = [key for key, buffer in model.backbone.named_buffers() if not torch.equal(before[key], buffer)]
    assert bool(drifted) == (regime == "full")
    assert len(before) > 100


def test_a_batch_too_small_for_batchnorm_is_refused_with_what_to_do():
    model = build(make("cross_modality/efficientnet_lite0"), {}).train()
    with pytest.raises(StrategyError, match="raise train.batch_size or train.patch_size"):
        model(torch.rand(1, 24, 32, 32))


@pytest.mark.parametrize(("name", "regime", "init"), VARIANTS)
def test_every_trainable_parameter_is_in_one_group_and_gets_a_gradient(name, regime, init, weights_paths):
    strategy = make(name, regime, init)
    model = build(strategy, weights_paths)
    groups = strategy.parameter_groups(model)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == {id(parameter) for parameter in trainable_parameters(model).values()}
    assert all(group["lr"] > 0 for group in groups)
    x, target = batch()
    cross_entropy(model.train()(x), target)[0].backward()
    missing = [key for key, parameter in trainable_parameters(model).items() if parameter.grad is None]
    assert missing == []


@pytest.mark.parametrize(("name", "regime", "init"), VARIANTS)
def test_the_same_seed_gives_the_same_step(name, regime, init, weights_paths):
    strategy = make(name, regime, init)
    model = build(strategy, weights_paths)
    state, (x, target) = copy.deepcopy(model.state_dict()), batch()
    results = []
    for _ in range(2):
        model.load_state_dict(state)
        model.zero_grad()
        torch.manual_seed(7)
        take_step(strategy, model, x, target)
        results.append(copy.deepcopy(model.state_dict()))
    assert all(torch.equal(results[0][key], results[1][key]) for key in results[0])


@pytest.mark.parametrize(("name", "regime", "init"), [v for v in VARIANTS if v[2] == "random"])
def test_the_state_dict_restores_the_outputs(name, regime, init):
    strategy = make(name, regime, init)
    model = build(strategy, {})
    take_step(strategy, model, *batch())
    torch.manual_seed(1)
    other = build(strategy, {})
    other.load_state_dict(model.state_dict())
    x, _ = batch()
    with torch.no_grad():
        assert torch.equal(model.eval()(x), other.eval()(x))


@pytest.mark.parametrize("name", NETWORKS)
def test_a_pixel_beyond_the_receptive_field_changes_nothing(name):
    strategy = make(name)
    reach = strategy.receptive_field_px // 2
    side = 2 * reach + 1 if reach < 100 else 257
    model = build(strategy, {}, num_bands=10).double().eval()
    x = torch.rand(1, 10, 3, side + 8 + side % 4, dtype=torch.float64)
    centre = x.shape[-1] // 2
    changed = x.clone()
    changed[..., [i for i in range(x.shape[-1]) if abs(i - centre) > reach]] += 1.0
    with torch.no_grad():
        assert torch.equal(model(x)[..., centre], model(changed)[..., centre])


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_the_receptive_field_of_the_unet_is_exact(offset):
    strategy = make("in_domain/unet", width=4, depth=2)
    model = build(strategy, {}, num_bands=2).double().eval()
    # a linear network with positive weights: no gradient cancels or dies, so what is reached is what is connected
    replace_nonlinear(model)
    for parameter in model.parameters():
        parameter.data.fill_(0.01)
    model.reduce[1] = nn.Identity()
    x = torch.rand(1, 2, 81, 81, dtype=torch.float64, requires_grad=True)
    row = 40 + offset
    model(x)[0, 0, row, row].backward()
    reached = torch.nonzero(x.grad[0, 0])
    reach = int((reached - row).abs().max())
    assert reach <= strategy.receptive_field_px // 2
    assert reach >= strategy.receptive_field_px // 2 - 4


def replace_nonlinear(module):
    for key, child in module.named_children():
        if type(child).__name__ in ("ChannelNorm", "ReLU"):
            setattr(module, key, nn.Identity())
        else:
            replace_nonlinear(child)


@pytest.mark.parametrize("name", NETWORKS)
def test_pixels_given_one_by_one_give_the_same_logits_where_the_receptive_field_is_one(name):
    strategy = make(name)
    if strategy.receptive_field_px > 1:
        pytest.skip("looks at a neighbourhood")
    model = build(strategy, {}).eval()
    x, _ = batch()
    pixels = x.permute(0, 2, 3, 1).reshape(-1, 24, 1, 1)
    with torch.no_grad():
        dense, single = model(x), model(pixels)
    torch.testing.assert_close(
        dense.permute(0, 2, 3, 1).reshape(-1, NUM_CLASSES), single[..., 0, 0], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize("name", NETWORKS)
def test_a_few_steps_lower_the_loss_on_real_pixels(name, indian_pines):
    cube, labels = indian_pines
    strategy = make(name)
    values = np.stack([cube[40:56, 40:56, ::8], cube[70:86, 40:56, ::8]])
    if strategy.accepts.normalisation == "scale":
        values = (values + 3) / 6
    x = torch.from_numpy(values).permute(0, 3, 1, 2)
    target = torch.from_numpy(np.stack([labels[40:56, 40:56], labels[70:86, 40:56]]))
    model = build(strategy, {}, num_bands=25, num_classes=16)
    strategy.initialise_from_data(model, values.reshape(-1, 25))
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    losses = []
    for _ in range(8):
        loss_sum, count = cross_entropy(model.train()(x), target)
        (loss_sum / count).backward()
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss_sum.detach() / count))
    assert losses[-1] < losses[0]


@pytest.mark.parametrize("name", NETWORKS)
def test_too_few_bands_are_refused(name):
    strategy = make(name)
    if strategy.accepts.min_bands == 1:
        pytest.skip("takes any number of bands")
    with pytest.raises(StrategyError, match="bands: .* takes"):
        build(strategy, {}, num_bands=strategy.accepts.min_bands - 1)


@pytest.mark.parametrize("name", [n for n in NETWORKS if registry.get_strategy(n).pretraining])
def test_pretrained_without_a_file_is_refused(name):
    strategy = make(name, "full", "pretrained")
    with pytest.raises(StrategyError, match="give weights_path or set init to random"):
        strategy.build(num_bands=10, wavelengths_nm=np.linspace(420, 2400, 10), num_classes=3, image_size=32)


@pytest.mark.parametrize("name", [n for n in NETWORKS if registry.get_strategy(n).pretraining])
def test_pretrained_and_random_start_from_other_backbones(name, weights_paths):
    models = [build(make(name, "frozen", init), weights_paths) for init in ("pretrained", "random")]
    pairs = zip(models[0].backbone.parameters(), models[1].backbone.parameters(), strict=True)
    assert any(not torch.equal(a, b) for a, b in pairs)


@pytest.mark.parametrize("name", kinds("estimator"))
def test_an_estimator_learns_real_pixels_and_never_sees_masked_ones(name, indian_pines):
    cube, labels = indian_pines
    cube, labels = cube[60:110, 20:80], labels[60:110, 20:80]
    visible = np.ones(labels.shape, dtype=bool)
    visible[20:30, 20:30] = False
    holes = np.where(visible[..., None], cube, np.nan)
    strategy = registry.make_strategy(name)
    features = strategy.features(holes, visible)
    assert features.shape[:2] == labels.shape
    assert features.dtype == np.float32
    assert np.isfinite(features).all()
    chosen = visible & (labels >= 0)
    train = chosen & (np.random.default_rng(0).random(labels.shape) < 0.2)
    model = strategy.fit(features[train], labels[train], seed=0)
    predicted = strategy.predict(model, features[chosen & ~train])
    assert predicted.shape == ((chosen & ~train).sum(),)
    assert (predicted == labels[chosen & ~train]).mean() > 0.6


@pytest.mark.parametrize("name", kinds("estimator"))
def test_an_estimator_ignores_what_lies_beyond_its_receptive_field(name):
    strategy = registry.make_strategy(name)
    reach = strategy.receptive_field_px // 2
    cube = np.random.default_rng(0).normal(size=(1, 2 * reach + 5, 70)).astype(np.float32)
    centre = cube.shape[1] // 2
    far = np.abs(np.arange(cube.shape[1]) - centre) > reach
    changed = np.where(far[None, :, None], cube + 1000, cube)
    visible = np.ones(cube.shape[:2], dtype=bool)
    assert np.array_equal(strategy.features(cube, visible)[:, centre], strategy.features(changed, visible)[:, centre])


@pytest.mark.parametrize("tuning", ["given", "cross_validation"])
@pytest.mark.parametrize("name", kinds("estimator"))
def test_an_estimator_takes_one_label_a_class_or_one_class_only(name, tuning):
    strategy = registry.make_strategy(name, {"tuning": tuning})
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for labels in (np.arange(6), np.full(6, 3), np.array([0, 0, 0, 0, 0, 2])):
        model = strategy.fit(features, labels, seed=0)
        assert set(strategy.predict(model, features)) <= set(labels.tolist())


@pytest.mark.parametrize("name", kinds("estimator"))
def test_an_estimator_refuses_data_it_cannot_be_fitted_to(name):
    strategy = registry.make_strategy(name)
    with pytest.raises(StrategyError, match="NaN or infinity"):
        strategy.fit(np.full((4, 3), np.nan, dtype=np.float32), np.arange(4), seed=0)
    with pytest.raises(StrategyError, match="N >= 1"):
        strategy.fit(np.zeros((0, 3), dtype=np.float32), np.arange(0), seed=0)
