"""Which data sets there are, and what their facts promise."""

from __future__ import annotations

import importlib
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from orchestrator.datasets._classic_scenes import UNCHECKED
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.registry import PLUMBING, get_definition, get_facts, list_datasets, status
from orchestrator.errors import ConfigError

NAMES = list_datasets()
ROOT = Path(__file__).parents[2]


def test_the_six_packaged_data_sets_are_listed() -> None:
    assert {"indian_pines", "salinas_a", "enmap_potsdam", "salami", "jasper_ridge", "samson"} <= set(NAMES)


def test_plumbing_exists_and_is_no_data_set() -> None:
    for name in PLUMBING:
        assert not hasattr(importlib.import_module(f"orchestrator.datasets.{name}"), "FACTS")


@pytest.mark.parametrize("name", NAMES)
def test_facts_agree_with_themselves(name: str) -> None:
    facts = get_facts(name)
    assert facts.name == name
    assert len(facts.class_names) == len(facts.class_ids) == len(set(facts.class_ids)) == len(set(facts.class_names))
    for lengths in (facts.wavelengths_nm, facts.fwhm_nm):
        assert lengths is None or len(lengths) == facts.num_bands
    assert facts.wavelengths_provenance
    assert len(facts.class_colours) in (0, len(facts.class_names))
    assert len(set(facts.class_colours)) == len(facts.class_colours)
    assert all(re.fullmatch("#[0-9a-f]{6}", colour) and colour != "#ffffff" for colour in facts.class_colours)
    assert set(facts.headline_classes or ()) <= set(facts.class_names)
    assert (facts.task == "scene") == (facts.split == "block")
    assert facts.citation
    assert facts.licence
    assert all(len(file.sha256 or "") == 64 for file in facts.files) or UNCHECKED in facts.notes
    assert all(file.url is None or file.url.startswith("https://") for file in facts.files)


@pytest.mark.parametrize("name", NAMES)
def test_ignored_ids_are_no_classes(name: str) -> None:
    definition = get_definition(name)
    assert not set(definition.ignored_ids) & set(definition.facts.class_ids)


def test_labels_from_unmixing_are_called_derived() -> None:
    assert [name for name in NAMES if get_facts(name).labels == "derived"] == ["jasper_ridge", "samson"]


def test_an_unknown_name_is_refused_with_the_nearest_one() -> None:
    with pytest.raises(ConfigError, match=r"unknown dataset 'indian_pine'. Did you mean 'indian_pines'\?.*data init"):
        get_facts("indian_pine")


def test_status_of_absent_files_says_how_to_get_them(locations: DataLocations) -> None:
    found = status("salinas_a", locations)
    assert not found.files_present
    assert found.digest is None
    assert "SalinasA_corrected.mat" in found.reason
    assert found.remedy == "hsfm-sweep data fetch salinas_a"


def test_status_tells_the_digest_once_prepared(scene_folder: Path, locations: DataLocations) -> None:
    name = str(scene_folder / "dataset.yaml")
    before = status(name, locations)
    assert (before.digest, before.files_present, before.reason) == (None, True, "")
    prepare(name, locations)
    assert len(status(name, locations).digest or "") == 16


def test_status_imports_no_heavy_library_and_is_quick() -> None:
    program = """
import sys, time
from pathlib import Path
start = time.perf_counter()
from orchestrator.datasets.registry import list_datasets, status
from orchestrator.datasets.locations import DataLocations
locations = DataLocations(data_root=None, cache=Path("/nonexistent"))
for name in list_datasets():
    status(name, locations)
seconds = time.perf_counter() - start
heavy = {"scipy", "pyarrow", "h5py", "torch", "ray", "mlflow", "tensorly", "tifffile", "numpy"} & set(sys.modules)
assert not heavy, heavy
assert seconds < 1.0, seconds
"""
    subprocess.run([sys.executable, "-c", program], check=True, cwd=ROOT)


def test_environment_names_the_folders(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HSFM_DATA_ROOT", str(tmp_path / "a"))
    monkeypatch.setenv("HSFM_CACHE", str(tmp_path / "b"))
    assert DataLocations.from_environment() == DataLocations(data_root=tmp_path / "a", cache=tmp_path / "b")
    assert DataLocations.from_environment(tmp_path / "c").data_root == tmp_path / "c"


def test_an_installed_package_can_bring_a_data_set(tmp_path: Path) -> None:
    """A real distribution on the path, with its entry point, in a process of its own."""
    (tmp_path / "their_scene.py").write_text(
        "from dataclasses import replace\nfrom orchestrator.datasets import indian_pines as base\n"
        "FACTS = replace(base.FACTS, name='their_scene')\nread, locate = base.read, base.locate\n"
    )
    metadata = tmp_path / "theirs-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
    (metadata / "entry_points.txt").write_text("[hsfm_sweep.datasets]\ntheir_scene = their_scene\n")
    program = (
        "from orchestrator.datasets.registry import get_facts, list_datasets\n"
        "assert 'their_scene' in list_datasets()\nassert get_facts('their_scene').num_bands == 200\n"
    )
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(tmp_path), str(ROOT)])}
    subprocess.run([sys.executable, "-c", program], check=True, env=environment)
