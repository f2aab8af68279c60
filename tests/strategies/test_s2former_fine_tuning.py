"""Diffusion-aligned fine-tuning: who teaches whom, what may not collapse, and that it runs on real windows."""

import math

import pytest
import torch

from strategies._base import StrategyError
from strategies.objectives.diffusion import Denoiser, NoiseSchedule, trajectory
from strategies.objectives.fine_tuning import turned
from strategies.registry import make_strategy

SMALL = {"common_bands": 32, "patch": 5, "width": 16, "depth": 2, "heads": 2, "decoder_width": 16, "init": "random"}
ALIGNMENT_ONLY = {"denoising_weight": 0.0, "ramp": 0.0, "distillation_weight": 0.0}


def objective(**values):
    strategy = make_strategy("cross_domain/s2former", {**SMALL, **values})
    model = strategy.build(num_bands=20, wavelengths_nm=None, num_classes=4, image_size=5)
    return strategy, strategy.training_objective(model).train()


def batch(labelled=8, unlabelled=8):
    labels = torch.arange(labelled).view(-1, 1, 1) % 4
    return torch.randn(labelled, 20, 5, 5), labels, torch.randn(unlabelled, 20, 5, 5)


def steps(strategy, module, count):
    optimiser = torch.optim.AdamW(strategy.parameter_groups(module))
    x, y, unlabelled = batch()
    history = []
    for step in range(count):
        torch.manual_seed(step)
        terms = module(x, y, unlabelled, step / count)
        terms["loss"].backward()
        optimiser.step()
        optimiser.zero_grad()
        module.after_step((step + 1) / count)
        history.append({name: float(value.detach()) for name, value in terms.items()})
    return history


def test_the_denoiser_gets_no_gradient_from_the_alignment_and_cannot_collapse():
    _, module = objective(**ALIGNMENT_ONLY)
    with torch.no_grad():
        for parameter in module.model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    terms = module(*batch(), 0.5)
    assert float(terms["position"].detach()) > 0
    assert float(terms["velocity"].detach()) > 0
    terms["loss"].backward()
    assert all(p.grad is None or not p.grad.any() for p in module.denoiser.parameters())
    assert any(p.grad is not None and p.grad.any() for p in module.model.backbone.parameters())
    assert all(p.grad is None for p in module.teacher.parameters())


def test_the_denoiser_learns_and_a_constant_does_not_satisfy_it():
    schedule = NoiseSchedule(200, 1e-4, 0.02)
    denoiser = Denoiser(12, 64, 200)
    optimiser = torch.optim.Adam(denoiser.parameters(), lr=3e-3)
    clean = torch.nn.functional.normalize(torch.randn(256, 12), dim=1) * math.sqrt(12)
    errors = []
    for _ in range(150):
        step_N = torch.randint(1, 201, (256,))
        error = (denoiser(schedule.noised(clean, torch.randn_like(clean), step_N), step_N) - clean).square().mean()
        error.backward()
        optimiser.step()
        optimiser.zero_grad()
        errors.append(float(error.detach()))
    of_a_constant = float((clean - clean.mean(0)).square().mean())
    assert sum(errors[-10:]) / 10 < 0.8 * of_a_constant


def test_a_trajectory_is_a_function_of_features_and_noise_from_the_noisiest_level_down():
    schedule, denoiser = NoiseSchedule(200, 1e-4, 0.02), Denoiser(6, 16, 200)
    z, noise = torch.randn(3, 6), torch.randn(3, 6)
    path = trajectory(denoiser, schedule, z, noise, (10, 120, 40))
    assert path.shape == (3, 3, 6)
    first = denoiser(schedule.noised(z, noise, 120), torch.full((3,), 120))
    torch.testing.assert_close(path[0], first)
    assert torch.equal(path, trajectory(denoiser, schedule, z, noise, (10, 40, 120)))


@pytest.mark.parametrize("kind", ["noise", "layers", "features"])
@pytest.mark.parametrize("teacher", ["ema", "frozen"])
def test_fine_tuning_runs_and_the_teacher_moves_only_if_it_is_an_average(kind, teacher):
    strategy, module = objective(trajectory=kind, teacher=teacher, ema_first=0.9, noise=0.0)
    before = {name: value.clone() for name, value in module.teacher.named_parameters()}
    history = steps(strategy, module, 12)
    assert history[-1]["cross_entropy"] < history[0]["cross_entropy"]
    assert all(math.isfinite(value) for terms in history for value in terms.values())
    assert {"position", "velocity", "alignment_weight"} <= set(history[0])
    assert ("denoising" in history[0]) == (kind == "noise")
    moved = [name for name, value in module.teacher.named_parameters() if not torch.equal(value, before[name])]
    assert bool(moved) == (teacher == "ema")
    assert not any(p.requires_grad for p in module.teacher.parameters())


def test_at_the_first_step_an_undisturbed_student_is_its_teacher():
    _, module = objective(turns="off", gain=0.0, noise=0.0, dropout=0.0)
    terms = module(*batch(), 0.0)
    assert float(terms["position"].detach()) == pytest.approx(0, abs=1e-5)
    assert float(terms["velocity"].detach()) == pytest.approx(0, abs=1e-5)


def test_the_average_is_the_stated_mix():
    _, module = objective(ema_first=0.9, ema_last=0.9)
    name, slow = next(iter(module.teacher.named_parameters()))
    fast = dict(module.model.named_parameters())[name]
    with torch.no_grad():
        fast.add_(1.0)
    wanted = 0.9 * slow + 0.1 * fast
    module.after_step(0.5)
    torch.testing.assert_close(slow, wanted)


def test_every_parameter_that_trains_is_in_one_group_the_denoiser_included():
    strategy, module = objective()
    groups = strategy.parameter_groups(module)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    wanted = {id(p) for p in module.parameters() if p.requires_grad}
    assert len(grouped) == len(set(grouped))
    assert set(grouped) == wanted
    rate = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert rate[id(module.model.backbone.blocks[0].attention[0].out.weight)] == pytest.approx(3e-4)
    assert rate[id(module.model.head.classify.weight)] == pytest.approx(1e-3)
    module(*batch(), 0.5)["loss"].backward()
    assert [key for key, p in module.named_parameters() if p.requires_grad and p.grad is None] == []


def test_the_objectives_state_restores_teacher_and_denoiser():
    strategy, module = objective()
    steps(strategy, module, 2)
    _, other = objective()
    other.load_state_dict(module.state_dict())
    torch.manual_seed(5)
    first = module(*(data := batch()), 0.5)
    torch.manual_seed(5)
    torch.randn(8, 20, 5, 5), torch.randn(8, 20, 5, 5)
    assert torch.equal(other(*data, 0.5)["loss"], first["loss"])


def test_without_daft_there_is_no_teacher_and_a_linear_probe_trains_the_head_alone():
    for values in ({"daft": "off"}, {"regime": "frozen"}):
        strategy, module = objective(**values)
        assert not hasattr(module, "teacher")
        history = steps(strategy, module, 3)
        assert set(history[0]) == {"loss", "cross_entropy"}
    trained = {key.split(".")[1] for key, p in module.named_parameters() if p.requires_grad}
    assert trained == {"head"}


def test_windows_are_turned_about_their_centre_each_in_its_own_way():
    plane = torch.arange(25.0).view(1, 1, 5, 5).expand(8, 2, 5, 5)
    ways = turned(plane, torch.arange(8))
    assert len({tuple(way.flatten().tolist()) for way in ways[:, 0]}) == 8
    assert ways[:, :, 2, 2].unique().tolist() == [12.0]
    assert torch.equal(ways[1, 0], torch.rot90(plane[0, 0]))
    assert torch.equal(ways[:, 0], ways[:, 1])


def test_a_trajectory_of_noised_inputs_ends_with_the_clean_window_and_needs_no_denoiser():
    strategy, module = objective(trajectory="inputs", diffusion_levels="20+120", distillation_weight=0.0)
    assert module.denoiser is None
    x, y, unlabelled = batch()
    history = steps(strategy, module, 6)
    assert "denoising" not in history[0]
    assert max(terms["position"] for terms in history) > 0
    assert max(terms["velocity"] for terms in history) > 0
    windows = torch.cat([x, unlabelled])
    noise = torch.randn_like(windows)
    module.eval()
    places = module._levels(module.model, windows, noise)
    assert len(places) == 3
    torch.testing.assert_close(places[-1], module.model.window_features(windows))
    far, near = ((place - places[-1]).square().mean() for place in places[:2])
    assert far > near


@pytest.mark.parametrize("name", ["cross_domain/s2former", "cross_domain/spectral_mae"])
def test_first_blocks_stay_as_pretrained_and_the_others_move(name):
    values = {key: value for key, value in SMALL.items() if key != "decoder_width"}
    strategy = make_strategy(name, {**values, "decoder_width": 16, "frozen_blocks": 1})
    model = strategy.build(num_bands=20, wavelengths_nm=None, num_classes=4, image_size=5)
    module = strategy.training_objective(model).train()
    before = {key: value.clone() for key, value in model.backbone.state_dict().items()}
    assert not model.backbone.blocks[0].training
    assert model.backbone.blocks[1].training
    steps(strategy, module, 3)
    moved = {key for key, value in model.backbone.state_dict().items() if not torch.equal(value, before[key])}
    assert not [key for key in moved if "embed" in key or "class" in key or key.startswith("blocks.0.")]
    assert [key for key in moved if key.startswith("blocks.1.")]


def test_frozen_blocks_are_refused_where_nothing_else_trains_in_the_encoder():
    with pytest.raises(StrategyError, match="frozen_blocks 1 with regime 'frozen'"):
        make_strategy("cross_domain/s2former", {**SMALL, "frozen_blocks": 1, "regime": "frozen"})
    with pytest.raises(StrategyError, match="frozen_blocks"):
        make_strategy("cross_domain/s2former", {**SMALL, "frozen_blocks": 3})


def test_a_prototype_head_does_not_see_the_length_of_features_and_learns():
    strategy, module = objective(head="prototype")
    head = module.model.head.eval()
    features = torch.randn(5, module.model.backbone.num_features, 1, 1)
    torch.testing.assert_close(head(features, (1, 1)), head(7 * features, (1, 1)))
    assert head(features, (1, 1)).abs().max() <= head.FACTOR * 1.001
    history = steps(strategy, module, 12)
    assert history[-1]["cross_entropy"] < history[0]["cross_entropy"]
