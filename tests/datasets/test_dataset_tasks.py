"""Splits, label budgets and selections: what is drawn, and what never changes."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets._base import BlockRule
from orchestrator.datasets._blocks import deal_blocks
from orchestrator.datasets._sides import sides_of
from orchestrator.datasets._streams import stream
from orchestrator.datasets.store import PreparedDataset
from orchestrator.datasets.tasks import Task, draw_task
from orchestrator.errors import ConfigError
from orchestrator.plan.cells import LabelBudget

FRACTIONS = (0.01, 0.05, 0.1, 0.5, 1.0)
SHOTS = (2, 5, 7, 10, 20, 40)


def draw(prepared: PreparedDataset, budget: Any, *, split: str = "default", **settings: Any) -> Task:
    settings = {"fold": 0, "selection": "validation_matched", "subset_seed": 3, **settings}
    return draw_task(prepared, split=split, label_budget=LabelBudget.parse(budget), **settings)


def chosen(maps: tuple[Any, ...]) -> set[tuple[int, int]]:
    """(image, pixel) of every label in the maps."""
    return {(image, int(pixel)) for image, labels in enumerate(maps) for pixel in np.flatnonzero(labels >= 0)}


def per_class(maps: tuple[Any, ...], classes: int) -> list[int]:
    return sum(np.bincount(labels[labels >= 0], minlength=classes) for labels in maps).tolist()


def available(prepared: PreparedDataset, side: int) -> list[int]:
    sides = sides_of(prepared, split="default", fold=0)
    pairs = zip(prepared.images, sides.side_maps, strict=True)
    return per_class(tuple(np.where(own == side, i.labels_HW, -1) for i, own in pairs), prepared.facts.num_classes)


@pytest.mark.parametrize("split", ["block", "random"])
@pytest.mark.parametrize(
    ("budgets", "selection"),
    [
        ([{"fraction": value} for value in FRACTIONS[:-1]], "validation_matched"),
        ([{"k_shot": k} for k in SHOTS], "validation_matched"),
        ([{"k_shot": k} for k in SHOTS[1:]], "held_out_shots"),
        ([{"k_shot": k} for k in SHOTS], "none"),
    ],
)
def test_smaller_budgets_are_subsets_of_larger_ones(
    indian_pines: PreparedDataset, split: str, budgets: list[Any], selection: str
) -> None:
    tasks = [draw(indian_pines, budget, split=split, selection=selection) for budget in budgets]
    for smaller, larger in zip(tasks[:-1], tasks[1:], strict=True):
        assert chosen(smaller.train_labels) < chosen(larger.train_labels)
        assert chosen(smaller.validation_labels) <= chosen(larger.validation_labels)


def test_whole_images_are_a_nested_prefix(image_set: PreparedDataset) -> None:
    previous: set[int] = set()
    for fraction, images in ((0.3, 1), (0.6, 2), (1.0, 3)):
        task = draw(image_set, {"fraction": fraction, "sampler": "whole_images"})
        used = {image for image, _ in chosen(task.train_labels)}
        assert len(used) == images
        assert previous < used
        for image in used:
            assert np.array_equal(task.train_labels[image], image_set.images[image].labels_HW)
        previous = used


@pytest.mark.parametrize("fraction", FRACTIONS)
def test_fractions_are_stratified_and_count_validation(indian_pines: PreparedDataset, fraction: float) -> None:
    task = draw(indian_pines, fraction)
    for side, maps in ((0, task.train_labels), (1, task.validation_labels)):
        for have, drawn in zip(available(indian_pines, side), per_class(maps, 16), strict=True):
            assert drawn == (min(have, max(1, int(np.floor(fraction * have + 0.5)))) if have else 0)
    total = sum(available(indian_pines, 0)) + sum(available(indian_pines, 1))
    assert abs(task.train_count + task.validation_count - fraction * total) <= 32


@pytest.mark.parametrize("k", [2, 5, 10])
def test_k_shot_counts_validation_labels_too(indian_pines: PreparedDataset, k: int) -> None:
    task = draw(indian_pines, {"k_shot": k})
    train, validation = per_class(task.train_labels, 16), per_class(task.validation_labels, 16)
    assert max(a + b for a, b in zip(train, validation, strict=True)) == k
    assert max(validation) == -(-k // 5)


def test_k_shot_halves_classes_with_too_few_pixels(indian_pines: PreparedDataset) -> None:
    task = draw(indian_pines, {"k_shot": 30}, split="random", selection="none")
    labels = indian_pines.images[0].labels_HW
    for have, drawn in zip(np.bincount(labels[labels >= 0]), per_class(task.train_labels, 16), strict=True):
        assert drawn == (30 if have >= 60 else -(-have // 2))


@pytest.mark.parametrize(("k", "held_out"), [(5, 1), (6, 2), (10, 2), (11, 3)])
@pytest.mark.parametrize("split", ["block", "random"])
def test_held_out_shots_come_from_the_shots(indian_pines: PreparedDataset, split: str, k: int, held_out: int) -> None:
    task = draw(indian_pines, {"k_shot": k}, split=split, selection="held_out_shots")
    everything = draw(indian_pines, {"k_shot": k}, split=split, selection="none")
    assert max(per_class(task.validation_labels, 16)) == held_out
    assert chosen(task.train_labels) | chosen(task.validation_labels) == chosen(everything.train_labels)
    assert everything.validation_count == 0


def test_a_random_split_scores_all_that_was_not_drawn(indian_pines: PreparedDataset) -> None:
    task = draw(indian_pines, 0.1, split="random")
    assert task.train_count + task.validation_count + task.test_count == 10249
    assert task.validation_count == pytest.approx(0.2 * 1025, abs=16)
    assert task.train_visible[0].all()


def test_scored_classes_do_not_depend_on_budget_or_seed(indian_pines: PreparedDataset) -> None:
    for split in ("block", "random"):
        seen = {
            draw(indian_pines, budget, split=split, subset_seed=seed).scored_classes
            for budget in (0.01, 0.99, {"k_shot": 5})
            for seed in range(3)
        }
        assert len(seen) == 1


def test_full_validation_takes_the_whole_side(indian_pines: PreparedDataset) -> None:
    task = draw(indian_pines, {"k_shot": 5}, selection="validation_full")
    assert per_class(task.validation_labels, 16) == available(indian_pines, 1)
    assert max(per_class(task.train_labels, 16)) == 5


@pytest.mark.parametrize("split", ["block", "random"])
def test_no_pixel_is_on_two_sides(indian_pines: PreparedDataset, split: str) -> None:
    task = draw(indian_pines, 0.5, split=split)
    sides = [chosen(maps) for maps in (task.train_labels, task.validation_labels, task.test_labels)]
    assert not sides[0] & sides[1]
    assert not sides[0] & sides[2]
    assert not sides[1] & sides[2]


def test_the_buffer_lies_between_all_sides(indian_pines: PreparedDataset) -> None:
    from scipy.ndimage import distance_transform_cdt

    side_map = sides_of(indian_pines, split="block", fold=0).side_maps[0]
    for side in range(3):
        distance = distance_transform_cdt(side_map != side, metric="chessboard")
        assert distance[(side_map >= 0) & (side_map != side)].min() == 5


def test_training_sees_nothing_of_the_other_sides(indian_pines: PreparedDataset) -> None:
    task = draw(indian_pines, 1.0)
    visible = task.train_visible[0]
    assert (visible >= (task.train_labels[0] >= 0)).all()
    assert not (visible & ((task.test_labels[0] >= 0) | (task.validation_labels[0] >= 0))).any()
    assert visible.sum() > task.train_count


def test_every_class_of_indian_pines_trains_and_is_tested(indian_pines: PreparedDataset) -> None:
    train, validation, test = (available(indian_pines, side) for side in range(3))
    assert min(train) >= 1
    assert min(test) >= 1
    kept = np.array([sum(train), sum(validation), sum(test)])
    assert kept / kept.sum() == pytest.approx([0.4, 0.2, 0.4], abs=0.05)
    assert kept.sum() > 0.75 * 10249


def test_a_class_too_small_to_be_cut_stays_on_one_side() -> None:
    labels = np.zeros((40, 40), dtype=np.int16)
    labels[0:2, 0:2] = 1
    layout = deal_blocks(labels, 2, BlockRule(side_px=10, buffer_px=4), stream("test"))
    sides = {int(layout.side_map[row, column]) for row in range(2) for column in range(2)} - {-1}
    assert len(sides) == 1


def test_test_units_number_the_blocks_that_are_tested(indian_pines: PreparedDataset) -> None:
    task = draw(indian_pines, 0.1)
    units, tested = task.test_units[0], task.test_labels[0] >= 0
    assert np.array_equal(units >= 0, tested)
    assert np.unique(units[tested]).tolist() == list(range(len(task.unit_names)))
    assert len(set(task.unit_names)) == len(task.unit_names) > 20
    rows, columns = np.nonzero(units == 0)
    assert np.ptp(rows) <= 15
    assert np.ptp(columns) <= 15


def test_folds_rotate_all_images_through_the_test_side(image_set: PreparedDataset) -> None:
    tested: list[str] = []
    for fold in range(3):
        task = draw(image_set, 1.0, fold=fold)
        sides = [{i for i, _ in chosen(maps)} for maps in (task.train_labels, task.validation_labels, task.test_labels)]
        assert [len(side) for side in sides] == [3, 3, 3]
        assert not sides[0] & sides[2]
        assert task.classes_trained == 3
        assert task.scored_classes == (0, 1, 2)
        tested += task.unit_names
    assert sorted(tested) == [f"t{index}" for index in range(9)]


def test_another_seed_draws_other_labels_from_the_same_sides(indian_pines: PreparedDataset) -> None:
    first, second = (draw(indian_pines, 0.1, subset_seed=seed) for seed in (1, 2))
    assert chosen(first.train_labels) != chosen(second.train_labels)
    assert np.array_equal(first.test_labels[0], second.test_labels[0])
    assert np.array_equal(first.train_visible[0], second.train_visible[0])


def _fingerprint(prepared: PreparedDataset) -> str:
    parts = [draw(prepared, budget, split=s) for budget in (0.1, {"k_shot": 5}) for s in ("block", "random")]
    return hashlib.sha256(b"".join(part.train_labels[0].tobytes() for part in parts)).hexdigest()


def test_another_process_with_another_hash_seed_draws_the_same(indian_pines: PreparedDataset) -> None:
    program = f"""
import sys
sys.path.insert(0, {str(__file__.rsplit("/", 1)[0])!r})
from pathlib import Path
from test_dataset_tasks import _fingerprint
from orchestrator.datasets.store import open_prepared
print(_fingerprint(open_prepared(Path({str(indian_pines.path)!r}))))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], env={"PYTHONHASHSEED": "77"}, capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == _fingerprint(indian_pines)


@pytest.mark.parametrize(
    ("budget", "settings", "message"),
    [
        ({"k_shot": 4}, {"selection": "held_out_shots"}, "k of at least 5"),
        (0.1, {"selection": "held_out_shots"}, "k of at least 5"),
        ({"k_shot": 1}, {}, "needs at least 2 shots"),
        (0.1, {"selection": "validation_match"}, "Did you mean 'validation_matched'"),
        (0.1, {"split": "blocks"}, "Did you mean 'block'"),
        (0.1, {"split": "images"}, "does not fit dataset 'indian_pines', which is a single scene"),
        (0.1, {"split": "random", "selection": "validation_full"}, "needs a validation side"),
        (1.0, {"split": "random"}, "leaves no pixel to test"),
        (0.1, {"fold": 1}, "fold 1 of dataset 'indian_pines'; allowed: 0 to 0"),
        ({"fraction": 0.1, "sampler": "whole_images"}, {}, "sampler 'whole_images' does not fit"),
    ],
)
def test_settings_that_exclude_each_other_are_refused(
    indian_pines: PreparedDataset, budget: Any, settings: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        draw(indian_pines, budget, **settings)


def test_blocks_do_not_fit_an_image_set(image_set: PreparedDataset) -> None:
    with pytest.raises(ConfigError, match="a set of images; allowed: default, images, random"):
        draw(image_set, 0.1, split="block")


def test_a_buffer_wider_than_half_a_block_is_refused() -> None:
    with pytest.raises(ConfigError, match="blocks of 6 px with a buffer of 4 px"):
        deal_blocks(np.zeros((40, 40), dtype=np.int16), 1, BlockRule(side_px=6, buffer_px=4), stream("test"))
