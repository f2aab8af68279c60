"""The audit measures the leak of random splits and finds none across a buffer."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from made_data import made_scene, write_yaml
from test_dataset_tasks import draw

from orchestrator.datasets.audit import audit
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import PreparedDataset, open_prepared


@pytest.mark.parametrize(
    ("k", "overlap", "inside"), [(1, 0.27, 0.09), (5, 0.67, 0.32), (10, 0.85, 0.49), (20, 0.95, 0.69)]
)
def test_the_leak_of_random_draws_of_indian_pines_is_the_known_one(
    indian_pines: PreparedDataset, k: int, overlap: float, inside: float
) -> None:
    """Expected: shares measured elsewhere on the same cube with 9x9 patches, mean of 10 draws."""
    tasks = [draw(indian_pines, {"k_shot": k}, split="random", selection="none", subset_seed=s) for s in range(10)]
    reports = [audit(indian_pines, task, 9) for task in tasks]
    assert np.mean([report.overlapping_footprint_share for report in reports]) == pytest.approx(overlap, abs=0.02)
    assert np.mean([report.own_spectrum_share for report in reports]) == pytest.approx(inside, abs=0.02)
    assert all(report.leaks for report in reports)


@pytest.mark.parametrize("receptive_field_px", [1, 9, 65])
def test_block_splits_never_show_a_test_spectrum_in_training(
    indian_pines: PreparedDataset, receptive_field_px: int
) -> None:
    report = audit(indian_pines, draw(indian_pines, 1.0), receptive_field_px)
    assert report.own_spectrum_share == 0
    assert not report.leaks
    assert report.buffer_px == 4
    assert report.nearest_train_px is not None
    assert report.nearest_train_px > report.buffer_px


def test_the_buffer_holds_footprints_of_its_radius_apart_and_wider_ones_are_told(indian_pines: PreparedDataset) -> None:
    """Masked training input ends at the buffer, so a buffer of r keeps footprints of radius r apart."""
    task = draw(indian_pines, 1.0)
    shares = [audit(indian_pines, task, size).overlapping_footprint_share for size in (1, 9, 11, 17)]
    assert shares[:2] == [0, 0]
    assert 0 < shares[2] < shares[3]


def test_one_pixel_footprints_never_overlap(indian_pines: PreparedDataset) -> None:
    report = audit(indian_pines, draw(indian_pines, 0.1, split="random"), 1)
    assert (report.overlapping_footprint_share, report.own_spectrum_share) == (0, 0)


def test_images_of_different_sides_share_nothing(image_set: PreparedDataset) -> None:
    report = audit(image_set, draw(image_set, 1.0), 9)
    assert report.overlapping_footprint_share == 0
    assert report.nearest_train_px is None


def test_counts_add_up_and_are_plain_data(indian_pines: PreparedDataset) -> None:
    report = audit(indian_pines, draw(indian_pines, 0.1), 9)
    counts = report.class_counts
    assert sum(counts["train_used"].values()) == report.train_count
    assert sum(counts["test_side"].values()) == sum(counts["test_used"].values()) == report.test_count
    assert json.loads(json.dumps(report.to_json()))["class_counts"]["train_side"] == counts["train_side"]
    assert "block split, 10%" in report.sentence()


def test_a_class_that_never_trains_is_scored_and_named(scene_folder: Path, locations: DataLocations) -> None:
    for name, has_rest in (("train", False), ("test", True)):
        cube, labels = made_scene()
        labels[labels == 3] = 3 if has_rest else 2
        np.save(scene_folder / f"{name}.npy", cube)
        np.save(scene_folder / f"{name}_gt.npy", labels)
    images = [{"cube": f"{name}.npy", "labels": f"{name}_gt.npy"} for name in ("train", "test")]
    path = write_yaml(scene_folder, images=images, split_lists={"train": ["train"], "test": ["test"]})
    prepared = open_prepared(prepare(str(path), locations))
    task = draw(prepared, 0.5, selection="none")
    assert (task.scored_classes, task.classes_trained, task.classes_untrained) == ((0, 1, 2), 2, (2,))
    assert audit(prepared, task, 3).classes_without_train == ("rest",)
