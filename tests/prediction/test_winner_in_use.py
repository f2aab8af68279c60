"""The winner of a finished sweep through the command line and through MLflow."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from orchestrator.cli import main
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import open_prepared
from orchestrator.prediction import find_model, predict_cube
from orchestrator.prediction.choosing import mean_validation

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: object) -> tuple[int, str, str]:
        status = main([str(argument) for argument in arguments])
        output = capsys.readouterr()
        return status, output.out, output.err

    return call


@pytest.fixture
def sweep(undisturbed: Path) -> tuple[object, ...]:
    return ("--grid", undisturbed / "killed.yaml", "--out", undisturbed)


@pytest.fixture
def scene(tmp_path: Path) -> Path:
    """A part of Indian Pines as a file."""
    image = open_prepared(prepare("indian_pines", DataLocations.from_environment())).images[0]
    np.save(tmp_path / "scene.npy", image.cube_HWC[40:90, 20:80])
    return tmp_path / "scene.npy"


def test_predict_uses_the_best_cell_and_tells_what_it_found(
    run: Run, sweep: tuple[object, ...], scene: Path, undisturbed: Path
) -> None:
    to = scene.parent / "maps"
    status, out, error = run("predict", *sweep, "--model", "best", scene, "--to", to, "--json")
    assert status == 0, error
    (record,) = json.loads(out)["predictions"]
    from orchestrator.ledger.store import open_ledger

    cells = open_ledger(undisturbed / "killed", "killed", mode="read").cells().values()
    best = max(cells, key=lambda c: mean_validation(c) or 0)
    assert record["model"]["cell"] == best.tags["hsfm.cell_name"]
    assert record["model"]["key"] == best.tags["hsfm.model"]
    assert sum(one["pixels"] for one in record["classes"]) == 50 * 60
    labels = np.load(to / "scene" / "labels.npy")
    assert set(np.unique(labels)) <= set(range(1, 17))
    assert (to / "scene" / "picture.png").read_bytes().startswith(b"\x89PNG")
    assert run("predict", *sweep, "--model", "best", scene, "--to", to)[0] == 2
    status, out, _ = run("predict", *sweep, "--model", "in_domain/unet", scene, "--to", to, "--overwrite")
    assert status == 0
    assert "in_domain/unet · indian_pines · 10%" in out
    assert "confidence: probability of the class" in out
    assert f"wrote {to / 'scene' / 'labels.npy'}" in out


def test_mlflow_models_of_the_sweep_take_their_example_and_predict_as_the_files_do(
    sweep: tuple[object, ...], scene: Path, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow
    from mlflow.tracking import MlflowClient

    store = f"sqlite:///{undisturbed / 'killed' / 'mlflow.db'}"
    model = find_model("in_domain/spectral_cnn", grid=str(sweep[1]), root=undisturbed)
    client = MlflowClient(store)
    experiment = client.get_experiment_by_name("killed")
    (logged,) = client.search_runs([experiment.experiment_id], f"tags.`hsfm.key` = '{model.key}'")
    uri = f"runs:/{logged.info.run_id}/model"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", store)
    loaded = mlflow.pyfunc.load_model(uri)
    example = np.asarray(loaded.input_example)
    assert example.shape == (8, 8, 200)
    cube = open_prepared(prepare("indian_pines", DataLocations.from_environment())).images[0].cube_HWC
    assert (cube == example[0, 0]).all(axis=2).any(), "the input example holds real pixels"
    assert loaded.metadata.signature.inputs.inputs[0].shape == (-1, -1, 200)

    wanted = predict_cube(scene, model)
    assert np.array_equal(loaded.predict(np.load(scene).astype(np.float32)), wanted.index_HW)
    again = predict_cube(scene, find_model(uri, tracking_uri=store))
    assert np.array_equal(again.labels_HW, wanted.labels_HW)


def test_export_of_the_winner_predicts_like_the_sweep(run: Run, sweep: tuple[object, ...], scene: Path) -> None:
    to = scene.parent / "winner"
    status, out, error = run("export", *sweep, "--model", "in_domain/svm_rbf", "--to", to)
    assert status == 0, error
    assert "no ONNX: in_domain/svm_rbf is no network" in out
    assert "mean of the cell's 2 finals" in (to / "README.md").read_text()
    maps = scene.parent / "maps"
    assert run("predict", *sweep, "--model", "in_domain/svm_rbf", scene, "--to", maps / "a")[0] == 0
    assert run("predict", "--model", to, scene, "--to", maps / "b")[0] == 0
    assert (maps / "a/scene/labels.npy").read_bytes() == (maps / "b/scene/labels.npy").read_bytes()


@pytest.mark.parametrize(
    ("arguments", "status", "words"),
    [
        (["--model", "bst"], 2, "Did you mean 'best'?"),
        (["--model", "best", "absent.hdr"], 1, "absent.hdr not found"),
        (["--model", "best", "--scale", "0"], 2, "scale 0"),
        (["--model", "best", "seeds=x"], 2, "seeds"),
    ],
)
def test_wrong_usage_of_predict_ends_with_one_line_that_helps(
    arguments: list[str], status: int, words: str, run: Run, sweep: tuple[object, ...], scene: Path
) -> None:
    found, out, error = run("predict", *sweep, scene, "--to", scene.parent / "maps", *arguments)
    assert found == status, error
    assert error.startswith("hsfm-sweep: error: ")
    assert words in error
    assert "Traceback" not in out + error
    assert not (scene.parent / "maps").exists()
