"""Cubes larger than a window: what blending may change, and what it may not."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from orchestrator.datasets.statistics import normalise
from orchestrator.execution import pieces
from orchestrator.execution.saved_model import SavedModel
from orchestrator.execution.windows import ALIGNMENT_PX, blended_windows, exact_windows
from orchestrator.prediction import FoundModel
from tests.prediction.made_models import made_cube


@pytest.fixture(autouse=True)
def small_windows(monkeypatch: pytest.MonkeyPatch) -> None:
    """Windows of 256 px, so that small cubes take several."""
    monkeypatch.setattr(pieces, "EVALUATION_TILE_PX", 256)


def assert_several_windows(cube: np.ndarray, reach_px: int) -> None:
    assert all(len(blended_windows(size, reach_px)) > 1 for size in cube.shape[:2])


@pytest.mark.parametrize("reach_px", [0, 1, 23, 64, 500])
@pytest.mark.parametrize("make", [blended_windows, exact_windows])
def test_the_weights_of_all_windows_add_up_to_one_in_every_pixel(make: object, reach_px: int) -> None:
    for size_px in (1, 2, 255, 256, 257, 511, 512, 513, 544, 1337):
        total = np.zeros(size_px)
        for window in make(size_px, reach_px):  # type: ignore[operator]
            total[window.pixels] += window.weights
        assert np.allclose(total, 1, atol=1e-6), size_px


def test_a_window_says_nothing_about_pixels_whose_surroundings_it_does_not_see() -> None:
    for window in blended_windows(1337, 23):
        assert window.pixels.start % ALIGNMENT_PX == 0
        assert window.pixels.start == 0 or not window.weights[:23].any()
        assert window.pixels.stop == 1337 or not window.weights[-23:].any()


def whole(saved: SavedModel, cube: np.ndarray) -> np.ndarray:
    """Probabilities `[K, H, W]` of the image in one piece."""
    facts = saved.facts
    x_HWC = normalise(cube, saved.statistics, facts["normalisation"], facts["scale"])
    with torch.inference_mode():
        x_BCHW = torch.from_numpy(np.ascontiguousarray(x_HWC.transpose(2, 0, 1)))[None]
        return saved.network(x_BCHW)[0].softmax(0).numpy()


@pytest.mark.parametrize("name", ["unet", "spectral"])
def test_windows_of_a_large_cube_agree_with_the_whole_image(name: str, request: pytest.FixtureRequest) -> None:
    saved = request.getfixturevalue(name).load()
    cube = made_cube(310, 530) if name == "unet" else made_cube(280, 300)
    assert_several_windows(cube, saved.reach_px)
    labels, confidence = saved.predict_probabilities(cube)
    probabilities = whole(saved, cube)
    assert confidence is not None
    assert np.abs(confidence - probabilities.max(0)).max() < 1e-4
    assert (labels != probabilities.argmax(0)).mean() < 1e-4


def test_the_result_does_not_depend_on_where_windows_fall(unet: FoundModel) -> None:
    saved, reach_px = unet.load(), unet.load().reach_px
    cube = made_cube(340, 530)
    assert_several_windows(cube[40:, 40:], reach_px)
    labels, confidence = saved.predict_probabilities(cube)
    # 40 px: windows start at multiples of 32, the U-Net's own grid has a mesh of 4
    shifted_labels, shifted_confidence = saved.predict_probabilities(cube[40:, 40:])
    assert confidence is not None
    assert shifted_confidence is not None
    inner = slice(reach_px, None)
    difference = np.abs(confidence[40:, 40:] - shifted_confidence)[inner, inner]
    assert difference.max() < 1e-4
    assert (labels[40:, 40:] != shifted_labels)[inner, inner].mean() < 1e-4


def test_an_estimator_that_looks_around_gives_the_same_with_and_without_windows(box_filter: FoundModel) -> None:
    saved = box_filter.load()
    cube = made_cube(270, 281)
    assert all(len(exact_windows(size, saved.reach_px)) > 1 for size in cube.shape[:2])
    labels, confidence = saved.predict_probabilities(cube)
    x_HWC = normalise(cube, saved.statistics, "per_band_zscore")
    features = saved.strategy.features(x_HWC, np.ones(cube.shape[:2], dtype=bool)).reshape(-1, cube.shape[2])
    assert np.array_equal(labels.ravel(), saved.strategy.predict(saved._model, features))
    assert confidence is not None
    assert np.allclose(confidence.ravel(), saved._model.predict_proba(features).max(1), atol=1e-6)


def test_an_image_of_one_window_is_predicted_in_one_piece(unet: FoundModel) -> None:
    saved = unet.load()
    cube = made_cube(70, 256)
    assert np.array_equal(saved.predict(cube), whole(saved, cube).argmax(0))


def test_the_same_cube_gives_the_same_bytes_twice(unet: FoundModel) -> None:
    cube = made_cube(290, 300)
    assert_several_windows(cube, unet.load().reach_px)
    first, second = unet.load().predict_probabilities(cube), unet.load().predict_probabilities(cube)
    assert first[0].tobytes() == second[0].tobytes()
    assert first[1] is not None
    assert second[1] is not None
    assert first[1].tobytes() == second[1].tobytes()
