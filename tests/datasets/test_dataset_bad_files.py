"""Damaged and disagreeing files: each is found before training and named."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import made_scene, write_yaml

from orchestrator.datasets import indian_pines as module
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import open_prepared
from orchestrator.errors import DataError


def _refused(folder: Path, locations: DataLocations, match: str) -> None:
    with pytest.raises(DataError, match=match):
        prepare(str(folder / "dataset.yaml"), locations)


def _float_cube() -> Any:
    return made_scene()[0].astype(np.float32)


def test_nan_in_a_cube_is_refused_with_its_place(scene_folder: Path, locations: DataLocations) -> None:
    cube = _float_cube()
    cube[3, 4, 5] = np.nan
    np.save(scene_folder / "cube.npy", cube)
    _refused(scene_folder, locations, r"image cube: 1 values are NaN.* row 3, column 4, band 5.*nodata: nan")


def test_stated_nodata_makes_nan_an_invalid_pixel(scene_folder: Path, locations: DataLocations) -> None:
    cube = _float_cube()
    cube[3, 4, 5] = np.nan
    np.save(scene_folder / "cube.npy", cube)
    write_yaml(scene_folder, nodata="nan")
    image = open_prepared(prepare(str(scene_folder / "dataset.yaml"), locations)).images[0]
    assert np.argwhere(~image.valid_HW).tolist() == [[3, 4]]
    assert image.labels_HW[3, 4] == -1
    assert (image.cube_HWC[3, 4] == 0).all()


def test_labels_of_another_size_are_refused(scene_folder: Path, locations: DataLocations) -> None:
    np.save(scene_folder / "labels.npy", made_scene()[1][:-1])
    _refused(scene_folder, locations, r"label image has size \(39, 48\), the cube \(40, 48\)")


def test_a_cut_file_is_refused_by_name(scene_folder: Path, locations: DataLocations) -> None:
    file = scene_folder / "cube.npy"
    file.write_bytes(file.read_bytes()[:5000])
    _refused(scene_folder, locations, r"cannot read .*cube.npy \(5000 bytes\).*get it again")


def test_a_file_of_rubbish_is_refused_by_name(scene_folder: Path, locations: DataLocations) -> None:
    (scene_folder / "cube.npy").write_bytes(b"\x00rubbish" * 100)
    _refused(scene_folder, locations, r"cannot read .*cube.npy")


def test_pickled_objects_are_never_loaded(scene_folder: Path, locations: DataLocations) -> None:
    np.save(scene_folder / "cube.npy", np.array([{"a": 1}], dtype=object), allow_pickle=True)
    _refused(scene_folder, locations, r"cannot read .*cube.npy.*allow_pickle")


def test_an_unknown_class_id_is_refused(scene_folder: Path, locations: DataLocations) -> None:
    labels = made_scene()[1]
    labels[0, 0] = 77
    np.save(scene_folder / "labels.npy", labels)
    _refused(scene_folder, locations, r"label ids \[77\] are neither a class \[1, 2, 3\] nor ignored \[0\]")


def test_labels_that_are_no_whole_numbers_are_refused(scene_folder: Path, locations: DataLocations) -> None:
    np.save(scene_folder / "labels.npy", made_scene()[1] + 0.5)
    _refused(scene_folder, locations, "no whole numbers")


def test_a_wrong_band_count_is_refused(scene_folder: Path, locations: DataLocations) -> None:
    write_yaml(scene_folder, bands=7)
    _refused(scene_folder, locations, r"shape \(40, 48, 6\); no order of its axes fits 7 bands")


def test_complex_numbers_are_refused(scene_folder: Path, locations: DataLocations) -> None:
    np.save(scene_folder / "cube.npy", made_scene()[0].astype(np.complex64))
    _refused(scene_folder, locations, "holds complex64; allowed: integers or floats")


def test_a_wrong_image_size_is_refused(scene_folder: Path, locations: DataLocations) -> None:
    write_yaml(scene_folder, image_size_px=[48, 40])
    _refused(scene_folder, locations, "40 x 48 px .* 48 x 40 are stated")


def test_a_scene_without_labels_is_refused(scene_folder: Path, locations: DataLocations) -> None:
    np.save(scene_folder / "labels.npy", np.zeros((40, 48), dtype=np.uint8))
    _refused(scene_folder, locations, "no labelled pixel")


def test_a_published_file_that_was_changed_is_refused(tmp_path: Path) -> None:
    folder = module.locate()
    assert folder is not None
    for source in module.FACTS.files:
        (tmp_path / source.path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / source.path, tmp_path / source.path)
    damaged = tmp_path / module.CUBE.path
    with damaged.open("r+b") as file:
        file.seek(1000)
        file.write(b"\xff")
    with pytest.raises(DataError, match=r"Indian_pines_corrected.npy is damaged.*expected 8f038e4d"):
        prepare("indian_pines", DataLocations(data_root=tmp_path, cache=tmp_path / "cache"))


def test_absent_files_are_named_with_the_command_that_gets_them(locations: DataLocations) -> None:
    with pytest.raises(DataError, match=r"salinas_a/SalinasA_corrected.mat not found.*data fetch salinas_a"):
        prepare("salinas_a", locations)
