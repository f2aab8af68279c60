"""A finished sweep as its user meets it: results, MLflow's own snippet, MLflow's own page in a browser."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import open_prepared
from tests.conftest import SECRETS
from tests.execution import sweeps

SWEEP = "killed"


def _client(out: Path) -> tuple[Any, str]:
    from mlflow.tracking import MlflowClient

    client = MlflowClient(f"sqlite:///{out / SWEEP / 'mlflow.db'}")
    return client, client.get_experiment_by_name(SWEEP).experiment_id


def test_two_levels_of_runs_each_with_all_factors(undisturbed: Path) -> None:
    client, experiment = _client(undisturbed)
    runs = client.search_runs([experiment], max_results=1000)
    by_role: dict[str, list[Any]] = {}
    for run in runs:
        by_role.setdefault(run.data.tags["hsfm.role"], []).append(run)
    assert {role: len(found) for role, found in by_role.items()} == {"sweep": 1, "cell": 3, "run": 18}
    parents = {run.info.run_id for run in by_role["cell"]}
    for run in by_role["run"]:
        assert run.data.tags["mlflow.parentRunId"] in parents
        for factor in ("strategy", "transfer", "dataset", "label_budget", "stage", "seed", "key", "leakage", "licence"):
            assert run.data.tags[f"hsfm.{factor}"], factor
            assert run.inputs.dataset_inputs, "the data set is not named as an input"


def test_no_secret_of_the_environment_is_in_anything_that_the_sweep_wrote(undisturbed: Path) -> None:
    printed = undisturbed.with_name(f"{undisturbed.name}-printed.txt")
    process = printed.read_text().split("\n", 1)[0]
    of_ray = list(Path(os.environ.get("RAY_TMPDIR", "/tmp"), "ray").glob(f"session_*_{process}"))
    files = [path for place in (undisturbed, *of_ray) for path in place.rglob("*") if path.is_file()]
    assert any(path.name == "mlflow.db" for path in files)
    assert any("logs" in path.parts for path in files), "no log of Ray or of a run was looked at"
    for path in (printed, *files):
        content = path.read_bytes()
        assert not [name for name, value in SECRETS.items() if value.encode() in content], path


def test_a_hopeless_trial_is_stopped_at_a_rung_and_its_mlflow_run_says_so(undisturbed: Path) -> None:
    client, experiment = _client(undisturbed)
    stopped = client.search_runs([experiment], "tags.`hsfm.state` = 'stopped'")
    assert len(stopped) == 4
    for run in stopped:
        assert run.info.status == "KILLED"
        assert re.search(r"rung at step 30: the best 2 of 4 go on", run.data.tags["hsfm.stop_reason"])
        assert not any(name.startswith("test/") for name in run.data.metrics)


def test_test_labels_are_scored_by_final_runs_only(undisturbed: Path) -> None:
    client, experiment = _client(undisturbed)
    for run in client.search_runs([experiment], "tags.`hsfm.role` = 'run'"):
        has_test = any(name.startswith("test/") for name in run.data.metrics)
        assert has_test == (run.data.tags["hsfm.stage"] == "final")


@pytest.mark.parametrize("strategy", ["in_domain/unet", "in_domain/svm_rbf"])
def test_the_winners_model_loads_with_mlflows_own_snippet_and_predicts_a_cube(
    strategy: str, undisturbed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import mlflow

    client, experiment = _client(undisturbed)
    where = f"tags.`hsfm.role` = 'cell' and tags.`hsfm.strategy` = '{strategy}'"
    cell = client.search_runs([experiment], where)[0]
    run = client.search_runs([experiment], f"tags.`hsfm.key` = '{cell.data.tags['hsfm.model']}'")[0]
    # not mlflow.set_tracking_uri: it stays in the environment of every later command of this test session
    monkeypatch.setenv("MLFLOW_TRACKING_URI", f"sqlite:///{undisturbed / SWEEP / 'mlflow.db'}")
    model = mlflow.pyfunc.load_model(f"runs:/{run.info.run_id}/model")

    prepared = open_prepared(prepare("indian_pines", DataLocations.from_environment()))
    cube = prepared.images[0].cube_HWC[:60, :51].astype(np.float32)
    labels = model.predict(cube)
    assert labels.shape == (60, 51)
    assert set(np.unique(labels)) <= set(range(16))
    with pytest.raises(Exception, match="bands|shape"):
        model.predict(cube[..., :100])


def test_the_report_has_every_file_and_one_row_a_run(undisturbed: Path) -> None:
    import pyarrow.parquet as pq

    report = undisturbed / SWEEP / "report"
    table = pq.read_table(report / "results.parquet")
    assert table.num_rows == 18
    assert {"results.csv", "comparison.tex", "comparison.html"} <= {p.name for p in report.iterdir()}
    client, experiment = _client(undisturbed)
    sweep = client.search_runs([experiment], "tags.`hsfm.role` = 'sweep'")[0]
    assert {a.path for a in client.list_artifacts(sweep.info.run_id, "report")} >= {"report/comparison.html"}


@pytest.fixture
def ui(undisturbed: Path) -> Iterator[str]:
    """The address that `hsfm-sweep ui` prints, while it serves."""
    port = sweeps.free_port()
    command = [sys.executable, "-m", "orchestrator.cli", "ui", "--grid", str(undisturbed / f"{SWEEP}.yaml")]
    command += ["--out", str(undisturbed), "--port", str(port)]
    process = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )
    assert process.stdout is not None
    try:
        address = ""
        while not address:
            line = process.stdout.readline()
            assert line, "the command ended without an address"
            found = re.search(r"http://127\.0\.0\.1:\S+", line)
            address = found.group(0) if found else ""
        sweeps.wait_for_port(port)
        yield address
    finally:
        sweeps.end_group(process)


def test_a_browser_finds_cell_runs_with_nested_runs_in_the_mlflow_ui(ui: str, tmp_path: Path) -> None:
    if not (shutil.which("chromium") and shutil.which("chromedriver")):
        if os.environ.get("CI"):
            pytest.fail("CI must have chromium and chromedriver")
        pytest.skip("needs chromium and chromedriver (Debian: chromium, chromium-driver)")
    from selenium import webdriver
    from selenium.webdriver.common.by import By
    from selenium.webdriver.support.ui import WebDriverWait

    options = webdriver.ChromeOptions()
    options.binary_location = shutil.which("chromium")
    for flag in ("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
                 "--disable-background-networking", "--disable-component-update", "--disable-sync",
                 "--window-size=1600,1000", f"--user-data-dir={tmp_path / 'profile'}"):  # fmt: skip
        options.add_argument(flag)
    driver = webdriver.Chrome(options=options, service=webdriver.ChromeService(shutil.which("chromedriver")))
    try:
        driver.get(ui)
        body = lambda: driver.find_element(By.TAG_NAME, "body").text  # noqa: E731
        WebDriverWait(driver, 120).until(lambda _: "in_domain/unet · indian_pines" in body())
        cells = driver.find_elements(By.CSS_SELECTOR, "[role='gridcell'][col-id*='Run Name']")
        expanders = [button for cell in cells for button in cell.find_elements(By.TAG_NAME, "button")]
        assert len(expanders) == 3, "every cell's run, and no other, holds nested runs"
        assert "search/f0/" not in body()
        expanders[0].click()
        WebDriverWait(driver, 30).until(lambda _: "search/f0/" in body() and "final/" in body())
    finally:
        shot = os.environ.get("HSFM_SCREENSHOT")
        if shot:
            time.sleep(2)
            driver.save_screenshot(shot)
        driver.quit()
