"""A model as plain files, and its ONNX graph beside the original."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from orchestrator.errors import ConfigError
from orchestrator.prediction import FoundModel, find_model, onnx_check, predict_cube
from orchestrator.prediction.exporting import export_model
from tests.prediction.made_models import BANDS, CLASSES, made_cube


@pytest.mark.parametrize("name", ["unet", "spectral"])
def test_the_onnx_graph_takes_raw_cubes_of_any_size_and_gives_the_same_logits(
    name: str, request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    import onnxruntime

    model: FoundModel = request.getfixturevalue(name)
    record = export_model(model, tmp_path / "out")
    graph = record["onnx"]
    assert graph["size"] == "any height and width"
    assert graph["max_difference"] < 1e-4
    assert graph["labels_unequal"] == 0
    assert "pixels of the training side" in graph["window"]
    session = onnxruntime.InferenceSession(tmp_path / "out" / "model.onnx", providers=["CPUExecutionProvider"])
    cube = made_cube(30, 41, seed=3)
    (logits,) = session.run(None, {"cube": cube.transpose(2, 0, 1)[None].astype(np.float32)})
    assert logits.shape == (1, CLASSES, 30, 41)
    assert np.array_equal(logits[0].argmax(0), model.load().predict(cube))
    told = session.get_modelmeta().custom_metadata_map
    assert json.loads(told["class_ids"]) == list(model.facts["class_ids"])


def test_an_exported_folder_is_a_model_and_says_what_it_needs(spectral: FoundModel, tmp_path: Path) -> None:
    record = export_model(spectral, tmp_path / "out", onnx=False)
    assert record["onnx"] == {"file": None, "reason": "not asked for"}
    assert json.loads((tmp_path / "out" / "export.json").read_text()) == record
    cube = made_cube(9, 9)
    again = predict_cube(cube, find_model(tmp_path / "out"))
    assert np.array_equal(again.labels_HW, predict_cube(cube, spectral).labels_HW)
    readme = (tmp_path / "out" / "README.md").read_text()
    for words in (
        f"{BANDS} bands",
        "450 to 810 nm",
        "| 1 | 3 | soil, bare |",
        "per_band_zscore",
        "surface_reflectance",
    ):
        assert words in readme, words


def test_a_model_without_onnx_is_exported_with_the_reason(
    box_filter: FoundModel, spectral: FoundModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    record = export_model(box_filter, tmp_path / "box")
    assert "is no network" in record["onnx"]["reason"]
    assert [one["name"] for one in record["files"]][:2] == ["config.json", "training_set.safetensors"]
    monkeypatch.setattr(onnx_check, "NEEDED", ("onnx", "a_package_that_nobody_has"))
    record = export_model(spectral, tmp_path / "spectral")
    assert record["onnx"]["reason"] == "a_package_that_nobody_has not installed; run: pip install 'hsfm-sweep[onnx]'"


def test_a_graph_that_cannot_be_made_is_no_failure(
    spectral: FoundModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(onnx_check, "TIME_LIMIT_S", 0.01)
    record = export_model(spectral, tmp_path / "out")
    assert "for any height and width: tracing did not end within" in record["onnx"]["reason"]
    assert not (tmp_path / "out" / "model.onnx").exists()
    assert (tmp_path / "out" / "model.safetensors").is_file()


def test_a_folder_with_something_in_it_is_left_alone(spectral: FoundModel, tmp_path: Path) -> None:
    (tmp_path / "mine.txt").touch()
    with pytest.raises(ConfigError, match="is not empty; allowed: --overwrite"):
        export_model(spectral, tmp_path, onnx=False)
    export_model(spectral, tmp_path, onnx=False, overwrite=True)
    assert (tmp_path / "mine.txt").exists()
    with pytest.raises(ConfigError, match="holds the model itself"):
        export_model(spectral, spectral.folder, onnx=False, overwrite=True)
