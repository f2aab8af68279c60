"""Scenes of the literature: readers on small files in their formats, and how their files are got."""

from __future__ import annotations

import functools
import hashlib
import importlib
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import ModuleType

import h5py
import numpy as np
import pytest
from scipy.io import savemat

from orchestrator.datasets import chikusei, houston2013, pavia_university
from orchestrator.datasets import prepare as prepare_module
from orchestrator.datasets.fetch import fetch
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.registry import get_facts, status
from orchestrator.errors import DataError

HEIGHT, WIDTH = 7, 5
VARIABLES = {
    "pavia_university": ("paviaU", "paviaU_gt"),
    "salinas": ("salinas_corrected", "salinas_gt"),
    "botswana": ("Botswana", "Botswana_gt"),
    "ksc": ("KSC", "KSC_gt"),
    "whu_hi_longkou": ("WHU_Hi_LongKou", "WHU_Hi_LongKou_gt"),
    "whu_hi_hanchuan": ("WHU_Hi_HanChuan", "WHU_Hi_HanChuan_gt"),
    "whu_hi_honghu": ("WHU_Hi_HongHu", "WHU_Hi_HongHu_gt"),
    "houston2013": ("HSI", "gt"),
}
CLASS_SIZES = {
    "pavia_university": 42_776,
    "salinas": 54_129,
    "botswana": 3248,
    "ksc": 5211,
    "whu_hi_longkou": 204_542,
    "whu_hi_hanchuan": 257_530,
    "whu_hi_honghu": 386_693,
    "houston2013": 15_029,
    "chikusei": 77_592,
}


def small(module: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "FACTS", replace(module.FACTS, image_size_px=(HEIGHT, WIDTH)))


def made(num_bands: int, num_classes: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    cube = rng.integers(0, 5000, size=(HEIGHT, WIDTH, num_bands)).astype(np.uint16)
    return cube, rng.integers(0, num_classes + 1, size=(HEIGHT, WIDTH)).astype(np.uint8)


@pytest.mark.parametrize("name", VARIABLES)
def test_a_scene_is_read_as_its_files_hold_it(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    module = importlib.import_module(f"orchestrator.datasets.{name}")
    small(module, monkeypatch)
    arrays = made(module.FACTS.num_bands, module.FACTS.num_classes)
    for file, variable, array in zip(module.FACTS.files, VARIABLES[name], arrays, strict=True):
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        savemat(tmp_path / file.path, {variable: array})
    (image,) = module.read(tmp_path)
    assert np.array_equal(image.cube, arrays[0])
    assert np.array_equal(image.labels, arrays[1])
    assert image.valid.all()


def test_chikusei_is_read_from_hdf5_and_a_structure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    small(chikusei, monkeypatch)
    cube, labels = made(128, 19)
    (tmp_path / chikusei.CUBE.path).parent.mkdir(parents=True)
    with h5py.File(tmp_path / chikusei.CUBE.path, "w") as file:
        file["chikusei"] = cube.T  # MATLAB writes its axes reversed
        file["chikusei"].attrs["MATLAB_class"] = b"uint16"
    savemat(tmp_path / chikusei.LABELS.path, {"GT": {"gt": labels, "classnames": "a"}})
    (image,) = chikusei.read(tmp_path)
    assert np.array_equal(image.cube, cube)
    assert np.array_equal(image.labels, labels)
    savemat(tmp_path / chikusei.LABELS.path, {"GT": {"other": labels}})
    with pytest.raises(DataError, match="cannot read the field gt of the structure GT"):
        chikusei.read(tmp_path)


def test_another_version_of_a_scene_is_refused_with_what_to_do(tmp_path: Path) -> None:
    cube, labels = made(102, 9)
    for file, variable, array in zip(
        pavia_university.FACTS.files, ("paviaU", "paviaU_gt"), (cube, labels), strict=True
    ):
        (tmp_path / file.path).parent.mkdir(parents=True, exist_ok=True)
        savemat(tmp_path / file.path, {variable: array})
    with pytest.raises(DataError, match=r"shape 7x5x102; expected 610x340x103 .*hsfm-sweep data init"):
        pavia_university.read(tmp_path)


@pytest.mark.parametrize("name", CLASS_SIZES)
def test_facts_say_what_is_not_established(name: str) -> None:
    facts = get_facts(name)
    assert facts.labelled_pixels == CLASS_SIZES[name]
    assert any("not yet validated" in note for note in facts.notes)
    assert all(file.sha256 for file in facts.files) != any("No checksum" in note for note in facts.notes)
    assert (facts.wavelengths_nm is None) == (name != "houston2013")


def test_how_to_get_a_scene_is_said(tmp_path: Path) -> None:
    locations = DataLocations(data_root=None, cache=tmp_path)
    assert status("ksc", locations).remedy == "hsfm-sweep data fetch ksc"
    assert status("houston2013", locations).remedy == "hsfm-sweep data fetch houston2013"
    assert "resource_WHUHi_sharing" in status("whu_hi_honghu", locations).remedy
    with pytest.raises(DataError, match=r"has no public address; get the MATLAB files"):
        fetch("chikusei", locations)


@pytest.fixture
def mirror(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    folder = tmp_path / "mirror"
    folder.mkdir()
    handler = functools.partial(SimpleHTTPRequestHandler, directory=str(folder))
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield folder, f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


def test_files_of_an_archive_are_fetched_with_it_and_checked(
    mirror: tuple[Path, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small(houston2013, monkeypatch)
    folder, url = mirror
    arrays = made(144, 15)
    files = []
    with zipfile.ZipFile(folder / "houston2013-mmr.zip", "w") as archive:
        for file, variable, array in zip(houston2013.FACTS.files, ("HSI", "gt"), arrays, strict=True):
            made_file = tmp_path / Path(file.path).name
            savemat(made_file, {variable: array})
            archive.write(made_file, f"Houston2013/{made_file.name}")
            files.append(replace(file, sha256=hashlib.sha256(made_file.read_bytes()).hexdigest()))
    monkeypatch.setattr(houston2013, "FACTS", replace(houston2013.FACTS, files=tuple(files)))
    locations = DataLocations(data_root=None, cache=tmp_path / "cache")
    found = fetch("houston2013", locations, base_url=url)
    (image,) = houston2013.read(found)
    assert np.array_equal(image.cube, arrays[0])
    (found / files[1].path).write_bytes(b"damaged")
    with pytest.raises(DataError, match="is damaged or another version: SHA-256"):
        prepare_module.prepare("houston2013", locations)
