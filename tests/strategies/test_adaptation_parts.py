"""LoRA, parameter groups, losses, the band projection, fold dealing and the box filter, each on its own."""

import copy
import math

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from strategies import estimators
from strategies._base import StrategyError
from strategies._lora import inject_lora
from strategies.adaptation import count_parameters, merge_lora, parameter_groups
from strategies.backbones.efficientnet import INPUT_STD, BandProjection
from strategies.backbones.spectral_cnn import SpectralCNNModel
from strategies.in_domain.box_filter_logistic import BoxFilterLogistic
from strategies.objectives.segmentation import class_balanced_weights, cross_entropy


class Attending(nn.Module):
    """torch's own attention, which reads its weights without calling submodules."""

    def __init__(self):
        super().__init__()
        self.attention = nn.MultiheadAttention(16, 4, batch_first=True)
        self.convolve = nn.Conv2d(16, 8, 3, groups=2)
        self.linear = nn.Linear(16, 3)

    def forward(self, x):
        x = self.attention(x, x, x, need_weights=False)[0]
        images = x.transpose(1, 2).reshape(len(x), 16, 4, 4)
        return self.linear(x).mean((1, 2)) + self.convolve(images).mean((1, 2, 3))


LORA_TARGETS = r"in_proj|out_proj|convolve|linear"


@pytest.fixture
def adapted():
    original = Attending().eval()
    return original, inject_lora(copy.deepcopy(original), rank=2, targets=LORA_TARGETS).eval()


def test_lora_starts_at_the_pretrained_function(adapted):
    original, model = adapted
    x = torch.rand(2, 16, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(x), original(x))


@pytest.mark.parametrize(
    "path", ["attention.in_proj_weight", "attention.out_proj.weight", "convolve.weight", "linear.weight"]
)
@pytest.mark.parametrize("training", [True, False])
def test_a_lora_update_of_each_kind_of_weight_changes_the_output(adapted, path, training):
    _, model = adapted
    x = torch.rand(2, 16, 16)
    module, weight = path.rpartition(".")[::2]
    update = model.get_submodule(module).parametrizations[weight][0]
    model.train(training)
    with torch.no_grad():
        before = model(x)
        update.lora_b.fill_(0.1)
        assert not torch.allclose(before, model(x))


def test_lora_trains_its_updates_only_and_all_of_them(adapted):
    _, model = adapted
    model.train()(torch.rand(2, 16, 16)).sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.requires_grad == ("lora_" in name)
        assert (parameter.grad is not None) == ("lora_" in name)


def test_queries_keys_and_values_get_updates_of_their_own(adapted):
    _, model = adapted
    update = model.attention.parametrizations["in_proj_weight"][0]
    with torch.no_grad():
        update.lora_b[1].fill_(1.0)
        change = model.attention.in_proj_weight - model.attention.parametrizations["in_proj_weight"].original
    assert torch.count_nonzero(change[:16]) == torch.count_nonzero(change[32:]) == 0
    assert torch.linalg.matrix_rank(change[16:32]) >= 1


def test_lora_counts_rank_times_sides():
    model = inject_lora(nn.Sequential(nn.Linear(20, 10)), rank=3, targets="weight")
    assert count_parameters(model) == (210 + 3 * 30, 3 * 30)


def test_merged_lora_computes_the_same_without_extra_parameters(adapted):
    original, model = adapted
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "lora_b" in name:
                parameter.normal_(std=0.1)
    x = torch.rand(2, 16, 16)
    with torch.no_grad():
        expected = model(x)
        merged = merge_lora(model)
        torch.testing.assert_close(merged(x), expected)
    assert set(merged.state_dict()) == set(original.state_dict())


@pytest.mark.parametrize(
    ("rank", "targets", "text"), [(0, "weight", "rank 0"), (2, "absent", "match no weight"), (2, "(", "no regular")]
)
def test_lora_refuses_what_would_do_nothing(rank, targets, text):
    with pytest.raises(StrategyError, match=text):
        inject_lora(Attending(), rank=rank, targets=targets)


def test_layer_decay_slows_layers_near_the_input_and_leaves_new_ones():
    model = nn.ModuleDict(
        {"stem": nn.Linear(2, 2), "body": nn.ModuleDict({"a": nn.Linear(2, 2), "b": nn.Linear(2, 2)})}
    )
    groups = parameter_groups(model, learning_rate=1.0, layer_decay=0.5, layers=["body.a", "body.b"])
    rates = {id(parameter): group["lr"] for group in groups for parameter in group["params"]}
    assert rates[id(model["body"]["a"].weight)] == 0.25
    assert rates[id(model["body"]["b"].bias)] == 0.5
    assert rates[id(model["stem"].weight)] == 1.0


def test_vectors_are_not_decayed():
    groups = parameter_groups(nn.Linear(2, 2), learning_rate=1.0)
    assert [(group["params"][0].ndim, group.get("weight_decay")) for group in groups] == [(2, None), (1, 0.0)]


def test_a_model_without_anything_to_train_is_refused():
    with pytest.raises(StrategyError, match="no parameter"):
        parameter_groups(nn.Linear(2, 2).requires_grad_(False), learning_rate=1.0)


def test_loss_sums_over_labelled_pixels_so_that_ranks_add_up():
    logits, target = torch.randn(4, 3, 5, 5), torch.randint(-1, 3, (4, 5, 5), dtype=torch.int16)
    whole, count = cross_entropy(logits, target)
    parts = [cross_entropy(logits[i : i + 2], target[i : i + 2]) for i in (0, 2)]
    assert int(count) == int((target >= 0).sum()) == sum(int(n) for _, n in parts)
    torch.testing.assert_close(whole, parts[0][0] + parts[1][0])
    torch.testing.assert_close(whole / count, functional.cross_entropy(logits, target.long(), ignore_index=-1))


def test_loss_without_a_label_is_zero_with_a_gradient():
    logits = torch.randn(1, 3, 2, 2, requires_grad=True)
    loss_sum, count = cross_entropy(logits, torch.full((1, 2, 2), -1))
    loss_sum.backward()
    assert (loss_sum.item(), int(count), float(logits.grad.abs().sum())) == (0.0, 0, 0.0)


def test_balanced_weights_give_every_class_the_same_share_and_keep_the_size():
    counts = torch.tensor([10, 30, 0, 60])
    weights = class_balanced_weights(counts.tolist())
    shares = weights * counts
    torch.testing.assert_close(shares[[0, 1, 3]], torch.full((3,), 100 / 3))
    assert float(weights[2]) == 0
    assert float(shares.sum()) == pytest.approx(100)


@pytest.mark.parametrize("counts", [[0, 0], [-1, 2], []])
def test_balanced_weights_refuse_counts_without_a_label(counts):
    with pytest.raises(StrategyError, match="class counts"):
        class_balanced_weights(counts)


def test_the_projection_starts_from_principal_components_in_the_known_range(indian_pines):
    spectra = indian_pines[0][::3, ::3].reshape(-1, 200)
    projection = BandProjection(200)
    projection.fit(spectra)
    with torch.no_grad():
        projected = projection(torch.from_numpy(spectra)[:, :, None, None])[..., 0, 0].double().numpy()
    np.testing.assert_allclose(projected.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(np.cov(projected.T, bias=True), INPUT_STD**2 * np.eye(3), atol=1e-4)
    assert (np.abs(projected) <= 1).mean() > 0.9
    explained = np.linalg.svd(spectra - spectra.mean(0), compute_uv=False)[:3] ** 2
    assert explained.sum() / ((spectra - spectra.mean(0)) ** 2).sum() > 0.8


@pytest.mark.parametrize("count", [1, 2])
def test_the_projection_takes_fewer_spectra_than_components(count):
    projection = BandProjection(6)
    projection.fit(np.random.default_rng(0).normal(size=(count, 6)).astype(np.float32))
    assert torch.isfinite(projection.weight).all()
    assert projection.weight.abs().max() < 1e3


def test_the_spectral_network_reads_bands_in_the_order_of_their_wavelengths():
    order = np.random.default_rng(0).permutation(16)
    model = SpectralCNNModel(list(range(16)), width=4, features=8, kernel_size=3).eval()
    shuffled = SpectralCNNModel(np.argsort(order).tolist(), width=4, features=8, kernel_size=3).eval()
    shuffled.load_state_dict(model.state_dict())
    spectra = torch.rand(5, 16)
    with torch.no_grad():
        torch.testing.assert_close(model(spectra), shuffled(spectra[:, order]))


def test_folds_leave_every_class_in_training_and_hold_each_sample_out_once():
    labels = np.array([0] * 12 + [1] * 3 + [2])
    folds = estimators.assign_folds(labels, seed=0)
    assert folds[-1] == -1
    assert set(folds[:12]) == set(range(5))
    for fold in range(5):
        assert set(labels[folds != fold]) == {0, 1, 2}


def test_the_box_filter_is_the_mean_over_visible_pixels_of_the_window():
    rng = np.random.default_rng(0)
    cube, visible = rng.normal(size=(12, 9, 3)).astype(np.float32), rng.random((12, 9)) > 0.3
    visible[:5, :5] = False
    features = BoxFilterLogistic(radius_px=2).features(cube, visible)
    for row in range(12):
        for column in range(9):
            window = (slice(max(row - 2, 0), row + 3), slice(max(column - 2, 0), column + 3))
            expected = cube[window][visible[window]].mean(0) if visible[window].any() else np.zeros(3)
            np.testing.assert_allclose(features[row, column], expected, atol=1e-5)


def test_a_window_larger_than_the_image_is_the_mean_of_the_image():
    cube = np.random.default_rng(0).normal(size=(4, 5, 2)).astype(np.float32)
    features = BoxFilterLogistic(radius_px=50).features(cube, np.ones((4, 5), dtype=bool))
    np.testing.assert_allclose(features, np.broadcast_to(cube.mean((0, 1)), cube.shape), atol=1e-5)
    assert math.isfinite(float(features.sum()))
