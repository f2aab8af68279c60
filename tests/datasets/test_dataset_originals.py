"""The packaged data sets against their original files; needs HSFM_DATA_ROOT (Indian Pines needs nothing)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from test_dataset_tasks import draw, per_class

from orchestrator.datasets._classic_scenes import NOT_VALIDATED
from orchestrator.datasets.audit import audit
from orchestrator.datasets.registry import get_definition, get_facts, list_datasets
from orchestrator.datasets.store import PreparedDataset

Real = Callable[[str], PreparedDataset]
# Those of HS3-Bench are nowhere to be had without asking (see test_hs3_*); scenes of the literature: classic_scenes.
NAMES = [
    name
    for name in list_datasets()
    if get_definition(name).survey is None
    and get_facts(name).labels != "none"
    and NOT_VALIDATED not in get_facts(name).notes
]


@pytest.mark.parametrize("name", NAMES)
def test_facts_agree_with_the_files(real: Real, name: str) -> None:
    prepared = real(name)
    facts, images = prepared.facts, prepared.images
    labelled = sum(int((image.labels_HW >= 0).sum()) for image in images)
    assert (len(images), labelled) == (facts.num_images, facts.labelled_pixels)
    present = np.unique(np.concatenate([image.labels_HW.reshape(-1) for image in images]))
    assert present[present >= 0].tolist() == list(range(facts.num_classes))


@pytest.mark.parametrize("name", NAMES)
def test_every_class_trains_and_is_tested_in_every_fold(real: Real, name: str) -> None:
    prepared = real(name)
    for fold in range(prepared.facts.folds):
        task = draw(prepared, 0.1, fold=fold)
        assert task.classes_untrained == ()
        assert task.scored_classes == tuple(range(prepared.facts.num_classes))
        assert not audit(prepared, task, 9).leaks


@pytest.mark.parametrize("name", NAMES)
def test_fractions_are_nested_and_seeds_repeat(real: Real, name: str) -> None:
    prepared = real(name)
    small, large, again = draw(prepared, 0.01), draw(prepared, 0.1), draw(prepared, 0.01)
    for few, many, same in zip(small.train_labels, large.train_labels, again.train_labels, strict=True):
        assert ((few >= 0) <= (many >= 0)).all()
        assert np.array_equal(few, same)


def test_class_sizes_are_the_published_ones(real: Real) -> None:
    sizes = {
        "salinas_a": [391, 1343, 616, 1525, 674, 799],
        "enmap_potsdam": [505, 953, 1694, 2070, 91, 359],
    }
    for name, expected in sizes.items():
        prepared = real(name)
        assert per_class(tuple(image.labels_HW for image in prepared.images), len(expected)) == expected


def test_enmap_holds_reflectance_without_dead_bands(real: Real) -> None:
    prepared = real("enmap_potsdam")
    image = prepared.images[0]
    assert image.cube_HWC.shape == (32, 32, 218)
    assert all(image.valid_HW.all() for image in prepared.images)
    red, infrared = (int(np.argmin(np.abs(np.array(prepared.facts.wavelengths_nm) - nm))) for nm in (660, 860))
    trees = image.cube_HWC[image.labels_HW == prepared.facts.class_names.index("tree")] / prepared.facts.scale
    assert trees[:, infrared].mean() > 3 * trees[:, red].mean()
    assert 0 < trees[:, infrared].mean() < 1


def test_every_enmap_tile_is_tested_once(real: Real) -> None:
    folds = real("enmap_potsdam").folds
    tested = [name for fold in folds for name in fold.test]
    assert len(tested) == len(set(tested)) == 18
    assert all(not set(fold.test) & {*fold.train, *fold.validation} for fold in folds)


def test_salami_ignores_unspecific_salami_and_rotates_the_days(real: Real) -> None:
    prepared = real("salami")
    day01 = prepared.images[0].labels_HW
    assert [(day01 == label).sum() for label in (-1, 1, 2)] == [73_995, 756, 969]
    assert [fold.train for fold in prepared.folds] == [(f"day{day}",) for day in ("01", "06", "13", "20", "28")]
    assert prepared.folds[4].validation == ("day01",)
    assert len(prepared.folds[0].test) == 3


def test_nearest_class_means_find_the_labels_where_they_lie(real: Real) -> None:
    """Sanity of axes: with a transposed label map the score would fall to chance."""
    for name, at_least in (("jasper_ridge", 0.85), ("samson", 0.85), ("salinas_a", 0.7)):
        prepared = real(name)
        task = draw(prepared, 0.1, split="random", selection="none")
        spectra = prepared.images[0].cube_HWC.reshape(-1, prepared.facts.num_bands).astype(np.float64)
        train, test = (maps[0].reshape(-1) for maps in (task.train_labels, task.test_labels))
        means = np.stack([spectra[train == label].mean(0) for label in range(prepared.facts.num_classes)])
        tested = np.flatnonzero(test >= 0)
        distance = ((spectra[tested, None, :] - means[None]) ** 2).sum(-1)
        assert (distance.argmin(1) == test[tested]).mean() > at_least
