"""Scoring: labelled pixels are predicted as a saved model predicts them, by any number of workers."""

from __future__ import annotations

import contextlib
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from orchestrator.config import TrainConfig
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import open_prepared
from orchestrator.execution.evaluation import confusion_of_network
from orchestrator.execution.run_data import RunData
from orchestrator.execution.saved_model import SavedModel, save_network
from orchestrator.execution.training import model_facts
from orchestrator.execution.windows import OVERLAP_SHARE, blend, square_windows
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.slots import resolve_train
from orchestrator.prediction.pixels import predict_image
from strategies._base import field_values
from strategies.backbones.window_classifier import WindowClassifier
from strategies.in_domain.spectral_cnn import SpectralCNN
from strategies.in_domain.unet import UNet
from strategies.registry import get_strategy
from tests.datasets.made_data import made_scene, write_yaml

BANDS, SIDE_PX = 8, 32
SIZES_PX = ((50, 70), (40, 90), (64, 64), (30, 30), (77, 41))


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Five images of different sizes, most of them larger than a window; three of them are tested on."""
    folder = tmp_path_factory.mktemp("images")
    names = [f"scene{number}" for number in range(len(SIZES_PX))]
    for number, (name, (height, width)) in enumerate(zip(names, SIZES_PX, strict=True)):
        cube, labels = made_scene(number, height, width, BANDS)
        np.save(folder / f"{name}.npy", cube)
        np.save(folder / f"{name}_labels.npy", labels)
    yaml = write_yaml(
        folder,
        image_size_px=[77, 90],
        bands=BANDS,
        images=[{"cube": f"{name}.npy", "labels": f"{name}_labels.npy"} for name in names],
        split_lists={"train": names[3:4], "validation": names[4:], "test": names[:3]},
    )
    return prepare(str(yaml), DataLocations(data_root=None, cache=folder / "cache"))


def _spec(name: str, prepared: Path) -> RunSpec:
    strategy = get_strategy(name)()
    return RunSpec(
        strategy=name,
        fields=field_values(strategy),
        dataset="made",
        dataset_digest=open_prepared(prepared).digest,
        split="images",
        fold=0,
        label_budget=LabelBudget.parse(1.0),
        selection="validation_matched",
        stage="final",
        seed=0,
        subset_seed=0,
        train=resolve_train(strategy, TrainConfig(steps=1, evaluations=1, patch_size=16, batch_size=4)),
        metric="miou",
    )


def _built(strategy: Any) -> torch.nn.Module:
    torch.manual_seed(0)
    model: torch.nn.Module = strategy.build(num_bands=BANDS, wavelengths_nm=None, num_classes=3, image_size=SIDE_PX)
    return model.eval()


def _confusion(model: Any, data: RunData, strategy: Any, side: str = "test", workers: int = 1) -> np.ndarray:
    parts = [
        confusion_of_network(
            model,
            data,
            side,
            strategy=strategy,
            device=torch.device("cpu"),
            autocast=contextlib.nullcontext,
            rank=rank,
            world_size=workers,
        )
        for rank in range(workers)
    ]
    assert workers == 1 or all(part.any() for part in parts), "every worker has something to do"
    total: np.ndarray = np.sum(parts, axis=0)
    # of the test side there are two matrices an image: pixels near a border between classes, and the others
    return total[: len(total) // 2] + total[len(total) // 2 :] if side == "test" else total


# ---- square windows


@pytest.mark.parametrize("size_px", [1, 31, 32, 33, 40, 63, 64, 100, 513])
def test_square_windows_overlap_by_a_quarter_and_their_weights_add_up_to_one(size_px: int) -> None:
    windows = square_windows(size_px, SIDE_PX)
    total = np.zeros(size_px)
    for window in windows:
        assert window.pixels.stop - window.pixels.start == min(size_px, SIDE_PX)
        assert (window.weights > 0).all()
        total[window.pixels] += window.weights
    assert np.allclose(total, 1, atol=1e-6)
    overlaps = [one.pixels.stop - two.pixels.start for one, two in zip(windows, windows[1:], strict=False)]
    assert min(overlaps, default=SIDE_PX) >= SIDE_PX // OVERLAP_SHARE
    assert windows[-1].pixels.stop == size_px


def test_one_window_fades_smoothly_into_the_next() -> None:
    first = square_windows(56, SIDE_PX)[0].weights
    assert first[0] == 1
    assert (np.diff(first) <= 0).all()
    assert np.abs(np.diff(first)).max() < 0.25
    assert first[-1] < 0.02


def test_blended_class_probabilities_add_up_to_one() -> None:
    rows, columns = square_windows(50, SIDE_PX), square_windows(70, SIDE_PX)
    generator = np.random.default_rng(0)
    made: dict[tuple[int, int], Any] = {}

    def of_class(chosen: int) -> np.ndarray:
        def probabilities(r: slice, c: slice) -> Any:
            window = made.setdefault((r.start, c.start), generator.dirichlet(np.ones(4), (SIDE_PX, SIDE_PX)))
            return window.transpose(2, 0, 1)[chosen : chosen + 1].astype(np.float32)

        return np.concatenate([share for _, _, share in blend(rows, columns, probabilities, 1)])

    assert np.allclose(sum(of_class(chosen) for chosen in range(4)), 1, atol=1e-5)


# ---- scoring


def test_a_pixelwise_network_says_the_same_in_blended_windows_as_on_the_whole_image(images: Path) -> None:
    data = RunData(_spec("in_domain/spectral_cnn", images), str(images))
    model = _built(SpectralCNN())
    in_windows = SimpleNamespace(receptive_field_px=3, inference_px=SIDE_PX, window_px=0)  # not by single pixels
    by_pixel = _confusion(model, data, SpectralCNN())
    assert by_pixel.sum() > 5000
    assert (_confusion(model, data, in_windows) == by_pixel).all()


@pytest.mark.parametrize(("inference_px", "side"), [(0, "test"), (SIDE_PX, "test"), (SIDE_PX, "validation")])
def test_two_workers_count_what_one_counts(images: Path, inference_px: int, side: str) -> None:
    data = RunData(_spec("in_domain/unet", images), str(images))
    model = _built(UNet())
    strategy = SimpleNamespace(receptive_field_px=UNet().receptive_field_px, inference_px=inference_px, window_px=0)
    one = _confusion(model, data, strategy, side)
    whole = [int((labels >= 0).sum()) for labels in data.labels_of(side)]
    assert one.sum() == sum(whole)
    if side == "test":
        assert (_confusion(model, data, strategy, side, workers=2) == one).all()
        assert [int(unit.sum()) for unit in one] == [count for count in whole if count]


def test_what_a_saved_model_predicts_in_windows_is_what_was_scored(
    images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = _spec("in_domain/unet", images)
    data = RunData(spec, str(images))
    whole = _confusion(_built(UNet()), data, UNet())
    monkeypatch.setattr(UNet, "inference_px", SIDE_PX)
    model = _built(UNet())
    scored = _confusion(model, data, UNet())
    assert (scored != whole).any(), "windows of 32 px are felt by a U-Net"
    saved = SavedModel(save_network(str(tmp_path), "run", model, {**model_facts(data, spec), "patch_px": SIDE_PX}))
    prepared = data.prepared
    for number, unit in enumerate(scored):
        image = predict_image(saved, prepared.images[number], data.task, number, tuple(prepared.facts.class_names))
        assert (image.confusion() == unit).all()


class _Centre(torch.nn.Module):
    """Classifies a window by its centre and by the mean of what surrounds it."""

    def forward(self, x_NCpp: torch.Tensor) -> torch.Tensor:
        middle = x_NCpp.shape[-1] // 2
        return x_NCpp[:, :3, middle, middle] + x_NCpp.mean((2, 3))[:, 3:6]


class _AsTheyAre(torch.nn.Module):
    def forward(self, features_BFHW: torch.Tensor, size_px: tuple[int, int]) -> torch.Tensor:  # noqa: ARG002
        return features_BFHW


@pytest.mark.parametrize("workers", [1, 2])
def test_a_classifier_of_windows_is_scored_at_labelled_pixels_only_with_the_same_result(
    images: Path, workers: int
) -> None:
    data = RunData(_spec("in_domain/unet", images), str(images))
    model = WindowClassifier(stem=torch.nn.Identity(), backbone=_Centre(), head=_AsTheyAre(), window_px=7).eval()
    of_windows = SimpleNamespace(receptive_field_px=7, inference_px=0, window_px=7)
    of_images = SimpleNamespace(receptive_field_px=7, inference_px=0, window_px=0)
    scored = _confusion(model, data, of_windows, workers=workers)
    assert scored.sum() > 5000
    assert (scored == _confusion(model, data, of_images)).all()
