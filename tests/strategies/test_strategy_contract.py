"""Every strategy there is keeps the contract, in every regime and initialisation; and the checks find who does not."""

import copy
from dataclasses import dataclass
from typing import ClassVar, Literal

import numpy as np
import pytest
import torch
from torch import nn

from strategies import registry
from strategies._base import StrategyError
from strategies._checks import missing_packages
from strategies.contract import ContractError, checks_of
from strategies.in_domain.svm_rbf import SvmRbf
from strategies.in_domain.unet import UNet
from strategies.objectives.segmentation import cross_entropy
from strategies.templates.estimator import NearestPixels
from strategies.templates.network import SmallNetwork

NUM_CLASSES = 5
CHECKS = [check for name in registry.list_strategies() for check in checks_of(name)]
TEMPLATE_CHECKS = [check for template in (SmallNetwork, NearestPixels) for check in checks_of(template)]


@pytest.mark.parametrize("check", CHECKS + TEMPLATE_CHECKS, ids=str)
def test_the_contract_is_kept(check, weights_paths):
    if check.weights and check.weights not in weights_paths:
        pytest.skip(f"weights {check.weights} are not at hand")
    if missing := missing_packages(check.subject.strategy):
        pytest.skip(missing)
    check(weights_paths.get(check.weights))


# --- the checks find who does not keep it --------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class ShortSighted(UNet):
    """Says that a pixel sees less than it does."""

    @property
    def receptive_field_px(self):
        return 5


@dataclass(frozen=True, kw_only=True)
class HalfTrained(UNet):
    """Forgets a part of the model in its optimiser's groups."""

    def parameter_groups(self, model):
        return [{"params": list(model.classify.parameters()), "lr": 1e-3}]


@dataclass(frozen=True, kw_only=True)
class DefaultOutside(UNet):
    learning_rate: float = 1.0


@dataclass(frozen=True, kw_only=True)
class Peeping(SvmRbf):
    """Lets what is masked through."""

    def features(self, cube_HWC, visible_HW):  # noqa: ARG002
        return cube_HWC


@dataclass(frozen=True, kw_only=True)
class OddSeed(SvmRbf):
    kind: ClassVar[Literal["network", "estimator"]] = "estimator"

    def predict(self, model, features_NF):
        return np.random.default_rng().permutation(super().predict(model, features_NF))


@pytest.mark.parametrize(
    ("strategy", "sentence", "text"),
    [
        (
            ShortSighted,
            "a pixel beyond the receptive field changes nothing",
            "sees farther than receptive_field_px = 5",
        ),
        (HalfTrained, "every trainable parameter is in one group", "parameter_groups holds 2 parameters"),
        (DefaultOutside, "holds the defaults", "learning_rate=1.0 lies outside of 0.0002 to 0.02"),
        (Peeping, "never sees masked ones", "hold NaN where a pixel is not visible"),
        (OddSeed, "never sees masked ones", "one seed gave two results"),
    ],
)
def test_a_broken_contract_is_told_with_what_to_do(strategy, sentence, text):
    (check,) = [check for check in checks_of(strategy) if sentence in check.sentence]
    with pytest.raises(ContractError, match=text):
        check()


# --- what single strategies promise beyond it ----------------------------------------------------------------------


def make(name, regime="full", init="random", **values):
    return registry.make_strategy(name, {"regime": regime, "init": init, **values})


def build(strategy, num_bands=24):
    wavelengths_nm = np.linspace(420, 2400, num_bands).tolist()
    return strategy.build(num_bands=num_bands, wavelengths_nm=wavelengths_nm, num_classes=NUM_CLASSES, image_size=32)


@pytest.mark.parametrize("regime", ["frozen", "stem", "lora", "full"])
def test_running_statistics_of_batchnorm_drift_in_the_regime_full_only(regime):
    strategy = make("cross_modality/efficientnet_lite0", regime)
    model = build(strategy)
    before = copy.deepcopy(dict(model.backbone.named_buffers()))
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    loss_sum, count = cross_entropy(
        model.train()(torch.rand(2, 24, 17, 22)), torch.randint(-1, NUM_CLASSES, (2, 17, 22))
    )
    (loss_sum / count).backward()
    optimiser.step()
    drifted = [key for key, buffer in model.backbone.named_buffers() if not torch.equal(before[key], buffer)]
    assert bool(drifted) == (regime == "full")
    assert len(before) > 100


def test_a_batch_too_small_for_batchnorm_is_refused_with_what_to_do():
    model = build(make("cross_modality/efficientnet_lite0")).train()
    with pytest.raises(StrategyError, match="raise train.batch_size or train.patch_size"):
        model(torch.rand(1, 24, 32, 32))


@pytest.mark.parametrize("offset", [0, 1, 2, 3])
def test_the_receptive_field_of_the_unet_is_exact(offset):
    strategy = make("in_domain/unet", width=4, depth=2)
    model = build(strategy, num_bands=2).double().eval()
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
