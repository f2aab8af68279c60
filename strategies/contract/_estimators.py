"""Checks of what an estimator promises: it learns real pixels, sees no others, and takes the smallest label budgets."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import fields
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

from strategies._base import StrategyError
from strategies.contract._subject import Subject, expect, real_bands, real_scene

SOUND_ACCURACY = 0.6
"""On pixels of a real scene whose neighbours were trained on; the most frequent class alone reaches less."""


def it_learns_real_pixels_and_never_sees_masked_ones(subject: Subject) -> None:
    cube_HWC, labels_HW = real_scene()
    cube_HWC, labels_HW = cube_HWC[60:110, 20:80, real_bands(subject.strategy.accepts, 200)], labels_HW[60:110, 20:80]
    visible_HW = np.ones(labels_HW.shape, dtype=bool)
    visible_HW[20:30, 20:30] = False
    strategy: Any = subject.make()
    features = strategy.features(np.where(visible_HW[..., None], cube_HWC, np.nan), visible_HW)
    expect(
        features.shape[:2] == labels_HW.shape and features.ndim == 3 and features.dtype == np.float32,
        f"features are {features.shape} {features.dtype}; expected {(*labels_HW.shape, 'F')} float32",
    )
    expect(bool(np.isfinite(features).all()), "features hold NaN where a pixel is not visible; leave those pixels out")
    chosen = visible_HW & (labels_HW >= 0)
    train = chosen & (np.random.default_rng(0).random(labels_HW.shape) < 0.2)
    held_out = chosen & ~train
    predictions = []
    for _ in range(2):
        model = strategy.fit(features[train], labels_HW[train], seed=0)
        predictions.append(strategy.predict(model, features[held_out]))
    predicted = predictions[0]
    expect(predicted.shape == (held_out.sum(),), f"predict gave {predicted.shape}; expected one class index a row")
    expect(np.array_equal(*predictions), "one seed gave two results; hand `seed` to everything that draws")
    accuracy = float((predicted == labels_HW[held_out]).mean())
    expect(
        accuracy > SOUND_ACCURACY,
        f"accuracy is {accuracy:.2f} on pixels of Indian Pines beside trained ones; expected above {SOUND_ACCURACY}",
    )


def what_lies_beyond_the_receptive_field_is_ignored(subject: Subject) -> None:
    strategy: Any = subject.make()
    reach = strategy.receptive_field_px // 2
    bands = len(real_bands(strategy.accepts, 70))
    cube_HWC = np.random.default_rng(0).normal(size=(1, 2 * reach + 5, bands)).astype(np.float32)
    centre = cube_HWC.shape[1] // 2
    far = np.abs(np.arange(cube_HWC.shape[1]) - centre) > reach
    changed = np.where(far[None, :, None], cube_HWC + 1000, cube_HWC)
    visible_HW = np.ones(cube_HWC.shape[:2], dtype=bool)
    same = np.array_equal(
        strategy.features(cube_HWC, visible_HW)[:, centre], strategy.features(changed, visible_HW)[:, centre]
    )
    expect(
        same,
        f"features see farther than receptive_field_px = {strategy.receptive_field_px} says; the audit of splits "
        "relies on it: raise it",
    )


def one_label_a_class_and_one_class_only_are_taken(subject: Subject) -> None:
    features = np.random.default_rng(0).normal(size=(6, 4)).astype(np.float32)
    for values in _choices(subject):
        strategy: Any = subject.make(**values)
        for labels in (np.arange(6), np.full(6, 3), np.array([0, 0, 0, 0, 0, 2])):
            predicted = strategy.predict(strategy.fit(features, labels, seed=0), features)
            other = set(np.asarray(predicted).tolist()) - set(labels.tolist())
            expect(
                not other, f"trained on classes {sorted(set(labels.tolist()))}, it predicts {sorted(other)} ({values})"
            )


def data_that_cannot_be_fitted_are_refused(subject: Subject) -> None:
    strategy: Any = subject.make()
    for features, labels, words in (
        (np.full((4, 3), np.nan, dtype=np.float32), np.arange(4), "NaN or infinity"),
        (np.zeros((0, 3), dtype=np.float32), np.arange(0), "N >= 1"),
    ):
        try:
            strategy.fit(features, labels, seed=0)
        except StrategyError as error:
            expect(words in str(error), f"the refusal says {str(error)!r}; expected {words!r} in it")
        else:
            expect(False, f"fit took features with {words}; call estimators.check_training_set at its start")


CHECKS = (
    it_learns_real_pixels_and_never_sees_masked_ones,
    what_lies_beyond_the_receptive_field_is_ignored,
    one_label_a_class_and_one_class_only_are_taken,
    data_that_cannot_be_fitted_are_refused,
)


def _choices(subject: Subject) -> Iterator[dict[str, Any]]:
    """Every combination of the values of its fields that are choices (such as `tuning`)."""
    hints = get_type_hints(subject.strategy)
    named = {f.name: hints[f.name] for f in fields(subject.strategy) if f.name not in ("regime", "init")}
    offered = {name: get_args(hint) for name, hint in named.items() if get_origin(hint) is Literal}
    for combination in itertools.product(*offered.values()):
        yield dict(zip(offered, combination, strict=True))
