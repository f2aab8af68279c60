"""The notebooks of the documentation, executed as a reader would: from an empty folder, cell by cell."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import nbformat
import pytest
from nbclient import NotebookClient

FOLDER = Path(__file__).resolve().parents[2] / "docs" / "notebooks"
NOTEBOOKS = sorted(FOLDER.glob("*.ipynb"))


def _code(notebook: Any) -> list[Any]:
    return [cell for cell in notebook.cells if cell.cell_type == "code"]


def _shown(cell: Any, kind: str) -> str:
    """What a cell shows of one kind of content, its printed text included for plain text."""
    parts = []
    for output in cell.outputs:
        parts.append("".join(output.get("data", {}).get(kind, "")))
        if kind == "text/plain" and output.output_type == "stream":
            parts.append(output.text)
    return "\n".join(parts)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=lambda path: path.stem)
def test_notebooks_are_stored_without_outputs(path: Path) -> None:
    notebook = nbformat.read(path, as_version=4)
    nbformat.validate(notebook)
    assert all(not cell.outputs and cell.execution_count is None for cell in _code(notebook))


@pytest.fixture(scope="module")
def executed(tmp_path_factory: pytest.TempPathFactory) -> tuple[Any, Path]:
    """The first comparison, run in an empty folder with an empty cache and no data root."""
    folder = tmp_path_factory.mktemp("notebook")
    notebook = nbformat.read(FOLDER / "first_comparison.ipynb", as_version=4)
    # the kernel takes its environment from this process; MLFLOW_TRACKING_URI may be left over from other tests
    left_out = ("HSFM_DATA_ROOT", "MLFLOW_TRACKING_URI", "RAY_ADDRESS", "MPLBACKEND")
    environment = {name: value for name, value in os.environ.items() if name not in left_out}
    environment |= {"HSFM_CACHE": str(folder / "cache"), "OMP_NUM_THREADS": "1"}
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    client.execute(env=environment)
    return notebook, folder


@pytest.mark.slow
def test_the_first_comparison_runs_from_plan_to_map(executed: tuple[Any, Path]) -> None:
    notebook, folder = executed
    cells = _code(notebook)
    failures = [output for cell in cells for output in cell.outputs if output.output_type == "error"]
    assert not failures
    plan, ran = cells[1], cells[2]
    assert _shown(plan, "text/html").count("not run yet") == 6
    assert "6 cells are finished" in _shown(ran, "text/plain")
    assert (folder / "hsfm_sweeps" / "first_comparison" / "report" / "comparison.html").is_file()
    assert sum("image/png" in output.get("data", {}) for cell in cells for output in cell.outputs) == 4
    text = "\n".join(_shown(cell, "text/plain") for cell in cells)
    assert "test counts as stored" in text
    assert "trained something: False" in text
    more_seeds = _shown(cells[-1], "text/html")
    assert more_seeds.count("partial") >= 6


@pytest.mark.slow
def test_a_notebook_shows_progress_in_one_place(executed: tuple[Any, Path]) -> None:
    shown = [_shown(cell, "text/html") for cell in _code(executed[0])][2]
    assert shown.count("best val miou") == 1
    assert "runs 24/24" in shown
