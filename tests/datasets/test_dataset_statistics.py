"""Band statistics see training pixels only, and normalisation divides by no zero."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_data import made_scene, write_yaml
from test_dataset_tasks import draw

from orchestrator.datasets import statistics
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.statistics import band_statistics, normalise
from orchestrator.datasets.store import PreparedDataset, open_prepared
from orchestrator.errors import ConfigError


def _values(prepared: PreparedDataset, scope: str = "train", budget: float = 0.1) -> np.ndarray:
    found = band_statistics(prepared, draw(prepared, budget), scope)
    return np.stack([found.mean_C, found.std_C, found.minimum_C, found.maximum_C])


def _with_cube(prepared: PreparedDataset, cube: np.ndarray) -> PreparedDataset:
    return replace(prepared, images=(replace(prepared.images[0], cube_HWC=cube),))


def test_statistics_are_those_of_all_visible_pixels(indian_pines: PreparedDataset) -> None:
    spectra = indian_pines.images[0].cube_HWC[draw(indian_pines, 0.1).train_visible[0]].astype(np.float64)
    expected = np.stack([spectra.mean(0), spectra.std(0), spectra.min(0), spectra.max(0)])
    assert np.allclose(_values(indian_pines), expected, rtol=1e-12)


def test_a_changed_test_spectrum_changes_nothing(indian_pines: PreparedDataset) -> None:
    task, cube = draw(indian_pines, 0.1), indian_pines.images[0].cube_HWC.copy()
    cube[(task.test_labels[0] >= 0) | (task.validation_labels[0] >= 0)] = 60_000
    changed = _with_cube(indian_pines, cube)
    assert np.array_equal(_values(indian_pines), _values(changed))
    assert not np.array_equal(_values(indian_pines, "scene"), _values(changed, "scene"))


def test_a_changed_unlabelled_training_spectrum_changes_them(indian_pines: PreparedDataset) -> None:
    task, cube = draw(indian_pines, 0.1), indian_pines.images[0].cube_HWC.copy()
    cube[task.train_visible[0] & (indian_pines.images[0].labels_HW < 0)] += 10
    assert not np.array_equal(_values(indian_pines), _values(_with_cube(indian_pines, cube)))


def test_statistics_are_the_same_at_every_label_budget(indian_pines: PreparedDataset) -> None:
    assert np.array_equal(_values(indian_pines, budget=0.01), _values(indian_pines, budget=1.0))


def test_they_are_worked_out_once_for_all_runs_of_a_split(
    indian_pines: PreparedDataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = band_statistics(indian_pines, draw(indian_pines, 0.1), "train")
    monkeypatch.setattr(statistics, "_from_pixels", lambda *_: pytest.fail("worked out again"))
    assert band_statistics(indian_pines, draw(indian_pines, 0.5), "train") is first
    with pytest.raises(ValueError, match="read-only"):
        first.mean_C[0] = 0


def test_pixels_without_data_do_not_count(scene_folder: Path, locations: DataLocations) -> None:
    cube = made_scene()[0].astype(np.float32)
    cube[:5] = -9999
    np.save(scene_folder / "cube.npy", cube)
    write_yaml(scene_folder, nodata=-9999)
    prepared = open_prepared(prepare(str(scene_folder / "dataset.yaml"), locations))
    assert band_statistics(prepared, draw(prepared, 0.5), "scene").minimum_C.min() >= 0
    image = prepared.images[0]
    found = band_statistics(prepared, draw(prepared, 0.5), "train")
    assert (normalise(image.cube_HWC, found, "per_band_zscore", valid_HW=image.valid_HW)[:5] == 0).all()


@pytest.mark.parametrize("mode", ["per_band_zscore", "per_band_minmax"])
def test_a_constant_band_does_not_divide_by_zero(indian_pines: PreparedDataset, mode: str) -> None:
    cube = indian_pines.images[0].cube_HWC.copy()
    cube[:, :, 7] = 1234
    changed = _with_cube(indian_pines, cube)
    result = normalise(cube, band_statistics(changed, draw(changed, 0.1), "train"), mode)
    assert result.dtype == np.float32
    assert np.isfinite(result).all()
    assert (result[:, :, 7] == 0).all()


def test_modes_do_what_they_say(indian_pines: PreparedDataset) -> None:
    task, cube = draw(indian_pines, 0.1), indian_pines.images[0].cube_HWC
    found, visible = band_statistics(indian_pines, task, "train"), task.train_visible[0]
    zscore = normalise(cube, found, "per_band_zscore")[visible].astype(np.float64)
    assert np.allclose(zscore.mean(0), 0, atol=1e-5)
    assert np.allclose(zscore.std(0), 1, atol=1e-5)
    minmax = normalise(cube, found, "per_band_minmax")[visible]
    assert (minmax.min(), minmax.max()) == (0, 1)
    assert np.array_equal(normalise(cube, None, "none"), cube.astype(np.float32))
    assert np.allclose(normalise(cube, None, "scale", 10_000.0), cube / 10_000)


@pytest.mark.parametrize(
    ("mode", "scale", "message"),
    [("zscore", 1.0, "unknown normalisation 'zscore'"), ("scale", 0.0, "above 0"), ("per_band_zscore", 1.0, "needs")],
)
def test_wrong_modes_are_refused(mode: str, scale: float, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        normalise(np.ones((2, 2, 3)), None, mode, scale)


def test_an_unknown_scope_is_refused(indian_pines: PreparedDataset) -> None:
    with pytest.raises(ConfigError, match="Known: scene, train"):
        band_statistics(indian_pines, draw(indian_pines, 0.1), "all")
