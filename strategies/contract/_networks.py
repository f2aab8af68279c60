"""Checks of what a network promises: shapes, what trains, what its pixels see, and that it learns."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from strategies._base import Strategy, StrategyError
from strategies.adaptation import AdaptableModel, count_parameters, trainable_parameters
from strategies.contract._subject import NUM_CLASSES, Subject, band_count, expect, real_bands, real_scene
from strategies.objectives.segmentation import cross_entropy

FARTHEST_PX = 100
"""Half a receptive field beyond this is not followed to its end."""
STEPS = 8


def logits_have_one_score_a_class_and_pixel_at_any_size(subject: Subject) -> None:
    for bands in sorted({band_count(subject.strategy.accepts, wanted) for wanted in (10, 31, 200)}):
        model = subject.build(num_bands=bands).eval()
        for size in ((1, 1), (17, 22), (5, 64)):
            with torch.no_grad():
                logits = model(torch.rand(2, bands, *size))
            wanted = (2, NUM_CLASSES, *size)
            expect(
                tuple(logits.shape) == wanted and logits.dtype == torch.float32,
                f"the model made {tuple(logits.shape)} {logits.dtype} of (2, {bands}, {size[0]}, {size[1]}); "
                f"expected logits {wanted} torch.float32",
            )
            expect(bool(torch.isfinite(logits).all()), f"the logits of an image of {size} px are not all finite")


def a_regime_trains_what_it_promises(subject: Subject) -> None:
    model = subject.build()
    total, trained = count_parameters(model)
    if subject.regime == "full":
        expect(trained == total, f"regime full trains {trained} of {total} parameters; expected all")
        return
    expect(
        isinstance(model, AdaptableModel),
        f"regime {subject.regime} needs a model of stem, backbone and head; make an AdaptableModel, or offer full only",
    )
    expect(0 < trained < total, f"regime {subject.regime} trains {trained} of {total} parameters; expected some")
    parts = {"frozen": {"head"}, "stem": {"stem", "head"}, "lora": {"stem", "backbone", "head"}}[subject.regime]
    if not list(model.stem.parameters()):  # type: ignore[union-attr]
        parts -= {"stem"}
    names = trainable_parameters(model)
    found = {key.split(".")[0] for key in names}
    expect(found == parts, f"regime {subject.regime} trains {sorted(found)}; expected {sorted(parts)}")
    if subject.regime == "lora":
        plain = [key for key in names if key.startswith("backbone") and "lora_" not in key]
        expect(not plain, f"regime lora trains {plain[:3]} of the backbone; expected low-rank updates only")
    head = {f"head.{key}" for key, _ in model.head.named_parameters()}  # type: ignore[union-attr]
    expect({key for key in names if key.startswith("head")} == head, "a part of the head does not train")


def what_is_frozen_stays_bit_identical_in_training(subject: Subject) -> None:
    strategy, model = subject.make(), subject.build()
    training = set(trainable_parameters(model))
    parts = tuple(f"{part}." for part in getattr(model, "frozen_parts", ()))
    expect(bool(parts) == (subject.regime != "full"), f"regime {subject.regime}, but frozen parts are {parts}")
    before = copy.deepcopy(model.state_dict())
    for _ in range(2):
        _take_step(strategy, model, *subject.batch())
    after = model.state_dict()
    changed = {key for key in after if not torch.equal(before[key], after[key])}
    drifted = [key for key in after if parts and key.startswith(parts) and key not in training and key in changed]
    expect(not drifted, f"frozen, but changed in training: {drifted[:3]}; keep running statistics out of frozen parts")
    expect(bool(training & changed), "no parameter that trains was changed by two steps")


def every_trainable_parameter_is_in_one_group_and_gets_a_gradient(subject: Subject) -> None:
    strategy, model = subject.make(), subject.build()
    groups = strategy.parameter_groups(model)
    grouped = [id(parameter) for group in groups for parameter in group["params"]]
    training = trainable_parameters(model)
    expect(len(grouped) == len(set(grouped)), "a parameter is in two groups of parameter_groups")
    expect(
        set(grouped) == {id(parameter) for parameter in training.values()},
        f"parameter_groups holds {len(grouped)} parameters, {len(training)} train; expected the same ones",
    )
    expect(all(group["lr"] > 0 for group in groups), "a group of parameter_groups has no lr above 0")
    x_BCHW, target_BHW = subject.batch()
    cross_entropy(model.train()(x_BCHW), target_BHW)[0].backward()  # type: ignore[no-untyped-call]
    missing = [key for key, parameter in training.items() if parameter.grad is None]
    expect(not missing, f"no gradient reaches {missing[:3]}; use them in the forward pass, or leave them out")


def cached_features_have_the_shapes_that_were_announced(subject: Subject) -> None:
    strategy = subject.make()
    bands = band_count(subject.strategy.accepts, 24)
    for height, width in ((17, 22), (32, 32)):
        announced = strategy.cached_features(height, width)
        if announced is None:
            return
        with torch.no_grad():
            found = subject.build(num_bands=bands).eval().features(torch.rand(1, bands, height, width))  # type: ignore[operator]
        levels = [found] if isinstance(found, torch.Tensor) else list(found)
        shapes = tuple(tuple(level.shape[1:]) for level in levels)
        expect(shapes == announced, f"the frozen part gives {shapes}, cached_features says {announced}; correct it")


def the_same_seed_gives_the_same_step(subject: Subject) -> None:
    strategy, model = subject.make(), subject.build()
    state, batch = copy.deepcopy(model.state_dict()), subject.batch()
    results = []
    for _ in range(2):
        model.load_state_dict(state)
        model.zero_grad()
        torch.manual_seed(7)
        _take_step(strategy, model, *batch)
        results.append(copy.deepcopy(model.state_dict()))
    other = [key for key in results[0] if not torch.equal(results[0][key], results[1][key])]
    expect(not other, f"one seed gave two results in {other[:3]}; draw random numbers from torch's generator only")


def the_state_dict_restores_the_outputs(subject: Subject) -> None:
    model = subject.build()
    _take_step(subject.make(), model, *subject.batch())
    torch.manual_seed(1)
    other = subject.build()
    other.load_state_dict(model.state_dict())
    x_BCHW, _ = subject.batch()
    with torch.no_grad():
        same = torch.equal(model.eval()(x_BCHW), other.eval()(x_BCHW))
    expect(same, "another model with the same state dict gives other logits; keep all state in parameters and buffers")


def a_pixel_beyond_the_receptive_field_changes_nothing(subject: Subject) -> None:
    bands = band_count(subject.strategy.accepts, 10)
    side_px = subject.make().receptive_field_px
    reach = side_px // 2
    width = 2 * reach + 1 if reach < FARTHEST_PX else 257
    model = subject.build(num_bands=bands).double().eval()
    x_BCHW = torch.rand(1, bands, 3, width + 8 + width % 4, dtype=torch.float64)
    centre = x_BCHW.shape[-1] // 2
    changed = x_BCHW.clone()
    changed[..., [i for i in range(x_BCHW.shape[-1]) if abs(i - centre) > reach]] += 1.0
    with torch.no_grad():
        same = torch.equal(model(x_BCHW)[..., centre], model(changed)[..., centre])
    expect(
        same,
        f"a pixel sees farther than receptive_field_px = {side_px} says; the audit of splits relies on it: raise it",
    )


def pixels_given_one_by_one_give_the_same_logits_where_the_receptive_field_is_one(subject: Subject) -> None:
    if subject.make().receptive_field_px > 1:
        return
    model = subject.build().eval()
    x_BCHW, _ = subject.batch()
    pixels = x_BCHW.permute(0, 2, 3, 1).reshape(-1, x_BCHW.shape[1], 1, 1)
    with torch.no_grad():
        dense, single = model(x_BCHW), model(pixels)
    together = dense.permute(0, 2, 3, 1).reshape(-1, NUM_CLASSES)
    expect(
        torch.allclose(together, single[..., 0, 0], rtol=1e-4, atol=1e-5),
        "a pixel alone gets other logits than in its image, though receptive_field_px is 1",
    )


def a_few_steps_lower_the_loss_on_real_pixels(subject: Subject) -> None:
    cube_HWC, labels_HW = real_scene()
    strategy = subject.make()
    bands = real_bands(strategy.accepts, 25)
    values = np.stack([cube_HWC[40:56, 40:56, bands], cube_HWC[70:86, 40:56, bands]])
    if strategy.accepts.normalisation == "scale":
        values = (values + 3) / 6
    x_BCHW = torch.from_numpy(values).permute(0, 3, 1, 2)
    target_BHW = torch.from_numpy(np.stack([labels_HW[40:56, 40:56], labels_HW[70:86, 40:56]]))
    model = subject.build(num_bands=len(bands), num_classes=16)
    strategy.initialise_from_data(model, values.reshape(-1, len(bands)))
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    losses = []
    for _ in range(STEPS):
        loss_sum, count = cross_entropy(model.train()(x_BCHW), target_BHW)
        (loss_sum / count).backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        optimiser.zero_grad()
        losses.append(float(loss_sum.detach() / count))
    expect(
        losses[-1] < losses[0],
        f"the loss went from {losses[0]:.3f} to {losses[-1]:.3f} in {STEPS} steps on pixels of Indian Pines",
    )


def too_few_bands_are_refused(subject: Subject) -> None:
    fewest = subject.strategy.accepts.min_bands
    if fewest > 1:
        _refused(subject, "bands: ", "call check_bands at the start of build", num_bands=fewest - 1)


def pretrained_without_a_file_is_refused(subject: Subject) -> None:
    without = Subject(strategy=subject.strategy, name=subject.name, regime="full", init="pretrained")
    _refused(without, "weights_path", "raise a StrategyError that names weights_path")


def pretrained_and_random_start_from_other_backbones(subject: Subject) -> None:
    models = [subject.build(init=init) for init in ("pretrained", "random")]
    pairs = zip(*(model.backbone.parameters() for model in models), strict=True)  # type: ignore[union-attr]
    expect(any(not torch.equal(a, b) for a, b in pairs), "the weights change nothing: init random has the same ones")


EVERY_VARIANT = (
    a_regime_trains_what_it_promises,
    what_is_frozen_stays_bit_identical_in_training,
    every_trainable_parameter_is_in_one_group_and_gets_a_gradient,
    the_same_seed_gives_the_same_step,
)
RANDOM_VARIANTS = (the_state_dict_restores_the_outputs, cached_features_have_the_shapes_that_were_announced)
ONCE = (
    logits_have_one_score_a_class_and_pixel_at_any_size,
    a_pixel_beyond_the_receptive_field_changes_nothing,
    pixels_given_one_by_one_give_the_same_logits_where_the_receptive_field_is_one,
    a_few_steps_lower_the_loss_on_real_pixels,
    too_few_bands_are_refused,
)
PRETRAINED_ONCE = (pretrained_and_random_start_from_other_backbones,)
WITHOUT_WEIGHTS = (pretrained_without_a_file_is_refused,)


def _take_step(strategy: Strategy, model: nn.Module, x_BCHW: torch.Tensor, target_BHW: torch.Tensor) -> None:
    model.train()
    optimiser = torch.optim.AdamW(strategy.parameter_groups(model))
    loss_sum, count = cross_entropy(model(x_BCHW), target_BHW)
    (loss_sum / count).backward()  # type: ignore[no-untyped-call]
    optimiser.step()


def _refused(subject: Subject, words: str, remedy: str, *, num_bands: int | None = None) -> None:
    try:
        subject.build(num_bands=num_bands)
    except StrategyError as error:
        expect(words in str(error), f"the refusal says {str(error)!r}; expected {words!r} in it: {remedy}")
    else:
        expect(False, f"build took {'no weights' if num_bands is None else f'{num_bands} bands'}; {remedy}")
