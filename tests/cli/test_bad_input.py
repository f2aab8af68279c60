"""What a user can get wrong, through the real command: told before any training, or the failure of its own run only."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.cli import main
from tests.datasets.made_data import made_scene, write_yaml

Run = Callable[..., tuple[int, str, str]]

GRID = """strategies: [in_domain/svm_rbf]
datasets: [scene/dataset.yaml]
label_budgets: [0.2]
seeds: 1
search: {trials: 1, round: 1}
train: {steps: 4, evaluations: 2, pixel_batch_size: 32}
"""
RAISES = """from dataclasses import dataclass
from strategies.in_domain.spectral_cnn import STRATEGY as SpectralCNN
@dataclass(frozen=True, kw_only=True)
class Raises(SpectralCNN):
    def build(self, **facts):
        raise ValueError(f"no model for {facts['num_bands']} bands")
STRATEGY = Raises
"""
NOT_A_NUMBER = """from dataclasses import dataclass
from strategies.in_domain.spectral_cnn import STRATEGY as SpectralCNN
@dataclass(frozen=True, kw_only=True)
class NotANumber(SpectralCNN):
    def build(self, **facts):
        model = super().build(**facts)
        next(p for p in model.parameters() if p.requires_grad).data.fill_(float("nan"))
        return model
STRATEGY = NotANumber
"""


@pytest.fixture(autouse=True)
def outside(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A fresh folder with a grid on a small scene of the user's; no data root, an empty cache, no server."""
    for name in ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "cache"))
    monkeypatch.chdir(tmp_path)
    make_scene("scene")
    Path("mine.yaml").write_text(GRID)


@pytest.fixture
def run(capsys: pytest.CaptureFixture[str]) -> Run:
    def call(*arguments: str) -> tuple[int, str, str]:
        status = main(arguments)
        output = capsys.readouterr()
        assert "Traceback" not in output.out + output.err
        return status, output.out, output.err

    return call


def make_scene(folder: str, *, bands: int = 12, **settings: Any) -> Path:
    """A scene of the user's: `cube.npy`, `labels.npy`, `dataset.yaml`, named as its folder."""
    Path(folder).mkdir()
    cube, labels = made_scene(bands=bands)
    np.save(Path(folder) / "cube.npy", cube)
    np.save(Path(folder) / "labels.npy", labels)
    return write_yaml(Path(folder), **{"name": folder, "bands": bands, **settings})


def cut(file: Path) -> None:
    with file.open("r+b") as handle:
        handle.truncate(file.stat().st_size // 2)


# --- stops before anything is made ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["strategies=[in_domain/svm_rfb]"], "Did you mean 'in_domain/svm_rbf'?"),
        (["datasets=[indian_pine]"], "Did you mean 'indian_pines'?"),
        (["search.metric=miuo"], "Did you mean 'miou'?"),
        (["train.stepz=3"], "Did you mean 'steps'?"),
        (["label_budgets=[0]"], "label budget 0 is out of range; allowed: a fraction"),
        (["label_budgets=[1.5]"], "label budget 1.5 is out of range; allowed: a fraction"),
        (["strategies=[plugin/my_net]"], "unknown strategy 'plugin/my_net'. Known: cross_domain/carl"),
        (["strategies=[plugin/my_net]"], "add --plugin my_net.py"),
        (["train.world_size=64"], "train.batch_size is 8; allowed: a multiple of train.world_size = 64"),
        (
            [
                "strategies=[in_domain/spectral_cnn]",  # scikit-learn always has one worker
                *("train.world_size=512", "train.batch_size=512", "train.pixel_batch_size=512"),
            ],
            "a worker group needs 512 CPUs (512 workers x 1 CPU), but there are",
        ),
        (["--tracking-uri", "file:mlruns"], "MLflow file stores are not supported (tracking URI 'file:mlruns')"),
    ],
)
def test_a_run_that_cannot_be_is_refused_before_anything_is_made(run: Run, arguments: list[str], words: str) -> None:
    status, out, error = run("--grid", "mine.yaml", *arguments)
    assert status == 2
    assert words in error
    assert out == ""
    assert sorted(path.name for path in Path().iterdir()) == ["mine.yaml", "scene"]


def test_a_file_store_in_the_environment_is_refused(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "file:/tmp/mlruns")
    for verb in ("run", "plan", "status", "report", "ui"):
        status, _, error = run(verb, "--grid", "mine.yaml")
        assert status == 2
        assert "leave MLFLOW_TRACKING_URI unset" in error


@pytest.mark.parametrize("out", ["occupied", "/proc/no_such_folder"])
def test_a_sweeps_folder_that_cannot_be_written_is_told_before_data_are_prepared(run: Run, out: str) -> None:
    Path("occupied").write_text("a file where the folder should be")
    status, printed, error = run("--grid", "mine.yaml", "--out", out)
    assert status == 2
    assert "cannot be written" in error
    assert "choose another output folder" in error
    assert "preparing" not in printed
    assert not Path("cache").exists()
    # looking is no failure: nothing was started there
    assert run("status", "--grid", "mine.yaml", "--out", out)[0] == 0
    assert run("plan", "--grid", "mine.yaml", "--out", out)[0] == 0


def test_two_data_sets_of_one_name_are_refused(run: Run) -> None:
    # Runs and results know a data set by its name: one would be trained on the other's pixels.
    make_scene("other", name="scene")
    status, _, error = run("plan", "--grid", "mine.yaml", "datasets=[scene/dataset.yaml, other/dataset.yaml]")
    assert status == 2
    assert "are both named 'scene'; allowed: one data set of a name" in error


def test_the_name_of_a_packaged_data_set_is_refused_for_a_users(run: Run) -> None:
    path = make_scene("other", name="samson")
    status, _, error = run("data", "info", str(path))
    assert status == 2
    assert "name is 'samson', which is another data set; allowed: any name but botswana" in error


def test_open_questions_are_listed_one_a_line(run: Run) -> None:
    path = make_scene("other", sensor="TODO: the camera", quantity="TODO: which")
    status, _, error = run("plan", "--grid", "mine.yaml", f"datasets=[{path}]")
    assert status == 2
    assert "2 open questions; replace every value that starts with TODO:\n  " in error
    assert "\n  sensor: the camera" in error


def test_a_label_budget_that_is_no_yaml_is_refused(run: Run) -> None:
    status, _, error = run("data", "audit", "scene/dataset.yaml", "--labels", "{k_shot")
    assert status == 2
    assert "label budget '{k_shot' is not valid YAML; allowed: a fraction in (0, 1], or '{k_shot: N}'" in error


def test_a_folder_in_place_of_its_yaml_file_is_told(run: Run) -> None:
    status, _, error = run("data", "info", "scene/")
    assert status == 2
    assert "the path of a YAML file, such as scene/dataset.yaml" in error


@pytest.mark.parametrize("verb", ["run", "plan", "status", "report"])
def test_a_ledger_that_is_no_database_is_told_and_kept(run: Run, verb: str) -> None:
    database = Path("sweeps/mine/mlflow.db")
    database.parent.mkdir(parents=True)
    database.write_text("something else, written here by mistake" * 20)
    status, _, error = run(verb, "--grid", "mine.yaml", "--out", "sweeps")
    assert status == 2
    assert "mlflow.db cannot be read (file is not a database)" in error
    assert "move it away" in error
    assert database.read_text().startswith("something else")


# --- blocks its own cells ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("strategy", "settings", "reason"),
    [
        ("in_domain/spectral_cnn", {"bands": 6}, "other has 6 bands; accepted: at least 8"),
        ("cross_domain/spectf", {"quantity": "raw"}, "other holds raw; accepted: toa reflectance, surface reflectance"),
        ("cross_domain/spectf", {"quantity": "toa_reflectance"}, "other has no wavelengths"),
        (
            "cross_domain/spectf",
            {"quantity": "toa_reflectance", "wavelengths_nm": [370 + 20 * band for band in range(12)]},
            "1 of 12 bands of other lie outside of 381-2493 nm (the first at 370 nm)",
        ),
    ],
)
def test_a_sensor_that_a_strategy_cannot_take_blocks_the_cell_with_the_reason(
    run: Run, strategy: str, settings: dict[str, Any], reason: str
) -> None:
    path = make_scene("other", **settings)
    status, out, _ = run("plan", "--grid", "mine.yaml", f"datasets=[{path}]", f"strategies=[{strategy}]", "--json")
    assert status == 0
    cells = json.loads(out)["cells"]
    assert {cell["state"] for cell in cells} == {"blocked"}
    assert all(reason in cell["reason"] for cell in cells)


@pytest.mark.parametrize("size", [100, 109_290])
def test_weights_that_are_not_the_published_ones_block_the_pretrained_cell(run: Run, size: int) -> None:
    file = Path("data/weights/spectf/weights.pt")
    file.parent.mkdir(parents=True)
    file.write_bytes(b"\0" * size)
    nanometres = [400 + 20 * band for band in range(12)]
    path = make_scene("other", quantity="toa_reflectance", wavelengths_nm=nanometres)
    arguments = ("--grid", "mine.yaml", f"datasets=[{path}]", "strategies=[cross_domain/spectf]", "--data-root", "data")
    pretrained, control = json.loads(run("plan", *arguments, "--json")[1])["cells"]
    assert pretrained["state"] == "blocked"
    assert "expected" in pretrained["reason"]
    assert pretrained["remedy"].startswith("delete ")
    assert "hsfm-sweep weights fetch spectf_v010" in pretrained["remedy"]
    assert control["state"] == "missing"
    status, _, error = run("weights", "check", "spectf_v010", "--data-root", "data")
    assert status == 1
    assert "expected" in error


def damage_with_nan(folder: Path) -> None:
    cube = np.load(folder / "cube.npy").astype(np.float32)
    cube[3, 4, 5] = np.nan
    np.save(folder / "cube.npy", cube)


def damage_labels(folder: Path) -> None:
    np.save(folder / "labels.npy", np.load(folder / "labels.npy")[:-2])


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: cut(folder / "cube.npy"), "cube.npy"),
        (lambda folder: (folder / "cube.npy").write_bytes(b"rubbish" * 99), "cube.npy"),
        (damage_labels, "the label image has size (38, 48), the cube (40, 48)"),
        (damage_with_nan, "1 values are NaN or infinite, the first at row 3, column 4, band 5"),
    ],
)
def test_damaged_data_end_with_1_a_reason_and_no_training(run: Run, damage: Callable[[Path], None], words: str) -> None:
    damage(Path("scene"))
    status, _, error = run("data", "prepare", "scene/dataset.yaml")
    assert status == 1
    assert words in error
    assert not list(Path("cache/prepared").glob("scene-*"))


def test_a_sweep_of_damaged_data_alone_starts_no_ray_and_reports_the_reason(run: Run) -> None:
    cut(Path("scene/cube.npy"))
    status, out, _ = run("--grid", "mine.yaml", "--out", "sweeps")
    assert status == 1
    assert "blocked: in_domain/svm_rbf · scene · 20%: " in out
    assert "0 cells are finished; nothing was left to train" in out
    assert "MLflow: hsfm-sweep ui --grid mine.yaml --out sweeps" in out
    assert "cube.npy" in Path("sweeps/mine/report/comparison.html").read_text(encoding="utf-8")


# --- fails its own run ---------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_what_goes_wrong_in_a_sweep_fails_its_own_cells_and_the_others_finish(run: Run) -> None:
    Path("raises.py").write_text(RAISES)
    Path("not_a_number.py").write_text(NOT_A_NUMBER)
    cut(make_scene("damaged").with_name("cube.npy"))
    command = [
        *(sys.executable, "-m", "orchestrator.cli", "--grid", "mine.yaml", "--out", "sweeps"),
        *("--plugin", "raises.py", "--plugin", "not_a_number.py"),
        "strategies=[in_domain/svm_rbf, plugin/raises, plugin/not_a_number]",
        "datasets=[scene/dataset.yaml, damaged/dataset.yaml]",
    ]
    root = str(Path(__file__).resolve().parents[2])
    environment = os.environ | {"PYTHONPATH": root, "OMP_NUM_THREADS": "1"}
    ended = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300, check=False)
    said = ended.stdout + ended.stderr
    assert ended.returncode == 1, said
    assert "Traceback" not in said
    assert "failed: plugin/raises · scene · 20%: ValueError: no model for 12 bands" in said
    assert "failed: plugin/not_a_number · scene · 20%: FloatingPointError: the training loss is nan at step 2;" in said
    for strategy in ("in_domain/svm_rbf", "plugin/raises", "plugin/not_a_number"):
        assert f"blocked: {strategy} · damaged · 20%: " in said
    assert "1 cell is finished" in said

    # what failed is told with the worker's own account of it
    plugins = ("--plugin", "raises.py", "--plugin", "not_a_number.py")
    data = json.loads(run("status", *command[3:7], *command[-2:], *plugins, "--json")[1])
    states = {(cell["strategy"], cell["dataset"]): cell["state"] for cell in data["cells"]}
    assert states["in_domain/svm_rbf", "scene"] == "done"
    logs = [Path(failure["log"]).read_text(encoding="utf-8") for failure in data["failures"]]
    assert len(logs) == 2
    assert all("Traceback" in log for log in logs)

    # finished stays finished: a damaged store is made again, and nothing is trained
    (store,) = Path("cache/prepared").glob("scene-*")
    for file in store.glob("*.arrow"):
        cut(file)
    status, out, _ = run("--grid", "mine.yaml", "--out", "sweeps")
    assert status == 0
    assert "1 cell is finished; nothing was left to train" in out
