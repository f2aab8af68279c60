"""Regimes on a vision transformer: which blocks thaw, which weights get updates, which rates the optimiser has."""

import pytest
import torch

from orchestrator.execution.optimisation import Optimisation
from strategies._base import StrategyError
from strategies.adaptation import trainable_parameters
from strategies.cross_modality.timm_vision import TimmVision

DEPTH = 4
TRAIN = {"steps": 10, "warmup_fraction": 0.5, "gradient_clip_norm": 0.0, "weight_decay": 0.01, "precision": "fp32"}


def make(**values):
    return TimmVision(**{"init": "random", "size": "reduced", "head": "linear", **values})


def build(strategy):
    return strategy.build(num_bands=15, wavelengths_nm=None, num_classes=4, image_size=32)


def blocks_that_train(model):
    names = [name.split(".") for name in trainable_parameters(model) if name.startswith("backbone")]
    assert all(name[2] == "blocks" for name in names)
    return {int(name[3]) for name in names}


def take_step(strategy, model, train=TRAIN, step=5):
    optimisation = Optimisation(model, strategy.parameter_groups(model), train, torch.device("cpu"))
    optimisation.prepare(step)
    model.train()(torch.randn(2, 15, 16, 16)).square().mean().backward()
    optimisation.apply()
    return optimisation


@pytest.mark.parametrize("blocks", [0, 1, 3])
def test_stem_and_the_first_blocks_train_and_nothing_else_moves(blocks):
    strategy = make(regime="stem", stem_blocks=blocks)
    model = build(strategy)
    assert blocks_that_train(model) == set(range(blocks))
    before = {key: value.clone() for key, value in model.state_dict().items()}
    take_step(strategy, model)
    moved = {key for key, value in model.state_dict().items() if not torch.equal(value, before[key])}
    assert moved >= {"stem.weight", "head.classify.weight"}
    assert moved == set(trainable_parameters(model)) & moved
    assert {int(key.split(".")[3]) for key in moved if key.startswith("backbone")} == set(range(blocks))


def test_thawed_blocks_leave_evaluation_mode_and_the_others_stay_in_it():
    model = build(make(regime="stem", stem_blocks=2)).train()
    modes = [block.training for block in model.backbone.model.blocks]
    assert modes == [True, True, False, False]
    assert not model.eval().backbone.model.blocks[0].training


def test_first_blocks_can_train_below_an_input_layer_without_weights():
    model = build(make(regime="stem", stem_blocks=1, input="pca3"))
    assert blocks_that_train(model) == {0}


def test_more_first_blocks_than_there_are_are_refused():
    with pytest.raises(StrategyError, match="the backbone has 4 blocks"):
        build(make(regime="stem", stem_blocks=DEPTH + 1))


def test_first_blocks_in_another_regime_are_refused():
    with pytest.raises(StrategyError, match="is for regime stem"):
        make(regime="frozen", stem_blocks=1)


@pytest.mark.parametrize(
    ("targets", "expected"),
    [
        (r"blocks\.\d+\.attn\.(qkv|proj)\.weight", {"attn.qkv", "attn.proj"}),
        (r"blocks\.\d+\.attn\.qkv\.weight", {"attn.qkv"}),
        (r"blocks\.\d+\.mlp\.fc", {"mlp.fc1", "mlp.fc2"}),
    ],
)
def test_lora_updates_what_its_regular_expression_names(targets, expected):
    model = build(make(regime="lora", lora_targets=targets, lora_rank=2))
    updated = {name for name in trainable_parameters(model) if name.startswith("backbone")}
    layers = {tuple(name.split(".parametrizations")[0].split(".")[2:]) for name in updated}
    assert layers == {("blocks", str(block), *name.split(".")) for block in range(DEPTH) for name in expected}


def test_a_plain_part_of_a_name_hits_the_patch_embedding_too_which_the_default_does_not():
    careless = build(make(regime="lora", lora_targets="proj"))
    assert any("patch_embed" in name for name in trainable_parameters(careless))
    assert not any("patch_embed" in name for name in trainable_parameters(build(make(regime="lora"))))


def rates_of(model, optimiser):
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    return {names[id(parameter)]: group["lr"] for group in optimiser.param_groups for parameter in group["params"]}


@pytest.mark.parametrize("step", [0, 5, 9])
def test_layer_decay_reaches_the_rates_that_the_optimiser_steps_with_at_every_step(step):
    strategy = make(regime="full", layer_decay=0.5, learning_rate=1e-2)
    model = build(strategy)
    optimisation = take_step(strategy, model, step=step)
    rates = rates_of(model, optimisation._optimizer)
    new = rates["head.classify.weight"]
    layers = ["stem.weight", "backbone.model.patch_embed.proj.weight"]
    layers += [f"backbone.model.blocks.{block}.mlp.fc1.weight" for block in range(DEPTH)]
    # the last block is one layer below the head, the stem six
    assert [rates[name] / new for name in layers] == pytest.approx([0.5**distance for distance in range(6, 0, -1)])
    assert rates["backbone.model.blocks.3.norm1.bias"] == rates["backbone.model.blocks.3.mlp.fc1.weight"]
    assert set(rates) == set(trainable_parameters(model))


def test_a_decayed_layer_really_moves_less():
    strategy = make(regime="full", layer_decay=0.1, learning_rate=1e-2)
    model = build(strategy)
    names = ("backbone.model.blocks.0.mlp.fc1.weight", "backbone.model.blocks.3.mlp.fc1.weight")
    parameters = dict(model.named_parameters())
    before = [parameters[name].detach().clone() for name in names]
    take_step(strategy, model, train={**TRAIN, "weight_decay": 0.0})
    first, last = ((parameters[name].detach() - old).abs().median() for name, old in zip(names, before, strict=True))
    # AdamW's first step is the rate itself wherever there is a gradient
    assert float(last / first) == pytest.approx(1000, rel=0.2)


@pytest.mark.parametrize("regime", ["frozen", "stem", "lora"])
def test_other_regimes_train_all_that_trains_at_the_full_rate(regime):
    model = build(make(regime=regime))
    groups = make(regime=regime, learning_rate=3e-3).parameter_groups(model)
    assert {group["lr"] for group in groups} == {3e-3}
