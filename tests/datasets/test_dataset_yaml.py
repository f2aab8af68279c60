"""A user's own data by one YAML: what is understood, and what each mistake is told."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_data import made_scene, write_envi, write_yaml

from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.registry import get_facts, status
from orchestrator.datasets.store import open_prepared
from orchestrator.errors import ConfigError, DataError


def test_a_single_scene_is_read(scene_folder: Path, locations: DataLocations) -> None:
    write_yaml(scene_folder, wavelengths_nm=[400, 500, 600, 700, 800, 900], dropped_bands=[0, 5], fwhm_nm=[10] * 6)
    name = str(scene_folder / "dataset.yaml")
    facts = get_facts(name)
    assert (facts.num_bands, facts.wavelengths_nm, facts.task) == (4, (500, 600, 700, 800), "scene")
    prepared = open_prepared(prepare(name, locations))
    cube, labels = made_scene()
    assert np.array_equal(prepared.images[0].cube_HWC, cube[:, :, 1:5])
    assert np.array_equal(prepared.images[0].labels_HW, labels.astype(np.int16) - 1)


def _images(folder: Path, count: int = 4) -> None:
    (folder / "cubes").mkdir()
    (folder / "gt").mkdir()
    for index in range(count):
        cube, labels = made_scene(index, 16, 20)
        np.save(folder / "cubes" / f"scene{index}.npy", cube)
        np.save(folder / "gt" / f"scene{index}.npy", labels)


def test_a_folder_of_cubes_is_read_by_a_pattern_with_split_lists(scene_folder: Path, locations: DataLocations) -> None:
    _images(scene_folder)
    (scene_folder / "train.txt").write_text("scene0\nscene2.npy\n\n")
    (scene_folder / "test.csv").write_text("image,mask\ncubes/scene3.npy,gt/scene3.npy\n")
    path = write_yaml(
        scene_folder,
        image_size_px=[16, 20],
        images={"cubes": "cubes/*.npy", "labels": "gt/{name}.npy"},
        split_lists={"train": "train.txt", "validation": ["scene1"], "test": "test.csv"},
    )
    prepared = open_prepared(prepare(str(path), locations))
    assert [image.name for image in prepared.images] == [f"scene{index}" for index in range(4)]
    fold = prepared.folds[0]
    assert (fold.train, fold.validation, fold.test) == (("scene0", "scene2"), ("scene1",), ("scene3",))
    assert prepared.facts.folds == 1


def test_images_without_split_lists_are_cross_validated(scene_folder: Path) -> None:
    _images(scene_folder)
    path = write_yaml(scene_folder, image_size_px=[16, 20], images={"cubes": "cubes/*.npy", "labels": "gt/{name}.npy"})
    assert get_facts(str(path)).folds == 4


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"wavelength_nm": [1]}, "unknown key 'wavelength_nm'. Did you mean 'wavelengths_nm'"),
        ({"quantity": "reflectance"}, "unknown quantity 'reflectance'. Did you mean '(toa|surface)_reflectance'"),
        ({"quantity": None}, "key 'quantity' is absent"),
        ({"quantity": "TODO: which"}, r"(?s)1 open questions.*quantity: which"),
        ({"classes": {1: "TODO", 2: "b"}}, r"(?s)open questions.*classes.1"),
        ({"classes": {1: "a", 2: "a"}}, "each with a name of its own"),
        ({"classes": {0: "a", 1: "b"}}, "id 0 is a class and in ignored_ids"),
        ({"classes": {"one": "a", "two": "b"}}, "expected a list of whole numbers"),
        ({"bands": 0}, "bands is 0; expected a whole number of at least 1"),
        ({"bands": "six"}, "bands is 'six'"),
        ({"scale": -1}, "scale is -1; expected a number above 0"),
        ({"wavelengths_nm": [400, 500]}, "wavelengths_nm has 2 values; expected a list of 6 numbers"),
        ({"wavelengths_nm": [0.4, 0.5, 0.6, 0.7, 0.8, 0.9]}, "micrometres times 1000 are nanometres"),
        ({"dropped_bands": [6]}, r"dropped_bands \[6\]; allowed: some of 0 to 5"),
        ({"image_size_px": [40]}, r"expected \[height, width\]"),
        ({"images": []}, r"images is \[\]; expected a list"),
        ({"images": [{"cube": "a.npy"}]}, "key 'labels' is absent"),
        ({"images": [{"cube": "a.npy", "label": "b.npy"}]}, "Did you mean 'labels'"),
        ({"images": {"cubes": "*.xyz", "labels": "{name}"}}, "finds no file"),
        ({"images": {"cubes": "*.npy", "labels": "gt.png"}}, r"expected a path with \{name\}"),
        ({"images": [{"cube": "a.npy", "labels": "b.npy"}] * 2}, "two images are named 'a'"),
        ({"split": "images"}, "unknown split 'images'"),
        ({"folds": 5}, "folds is 5; a scene and given split_lists have 1 fold"),
        ({"split_lists": {"train": ["cube"], "tst": []}}, "unknown key 'tst'. Did you mean 'test'"),
        ({"split_lists": {"train": ["cub"], "test": []}}, "names 'cub', which is no image; known: cube"),
        ({"headline_classes": ["feld"]}, "Did you mean 'field'"),
        ({"axes": "hwc"}, "unknown axes 'hwc'"),
        ({"nodata": [1]}, "expected a number, nan or null"),
    ],
)
def test_a_mistake_is_told_with_what_is_allowed(scene_folder: Path, changes: dict[str, Any], message: str) -> None:
    path = write_yaml(scene_folder, **changes)
    with pytest.raises(ConfigError, match=message) as caught:
        get_facts(str(path))
    assert str(path) in str(caught.value)


def test_a_file_that_is_no_yaml_or_absent_is_told(tmp_path: Path) -> None:
    (tmp_path / "broken.yaml").write_text("name: [")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        get_facts(str(tmp_path / "broken.yaml"))
    with pytest.raises(ConfigError, match="not found; make one with: hsfm-sweep data init"):
        get_facts(str(tmp_path / "absent.yaml"))


def test_yaml_cannot_make_python_objects(tmp_path: Path) -> None:
    (tmp_path / "evil.yaml").write_text("!!python/object/apply:os.system ['true']")
    with pytest.raises(ConfigError, match="cannot be read as YAML"):
        get_facts(str(tmp_path / "evil.yaml"))


def test_absent_files_block_and_say_which(scene_folder: Path, locations: DataLocations) -> None:
    (scene_folder / "labels.npy").unlink()
    found = status(str(scene_folder / "dataset.yaml"), locations)
    assert not found.files_present
    assert "labels.npy not found below" in found.reason
    assert "correct the paths" in found.remedy


def test_files_of_the_data_root_never_stand_in_for_the_users(scene_folder: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    root.mkdir()
    for name in ("cube.npy", "labels.npy"):
        (scene_folder / name).rename(root / name)
    found = status(str(scene_folder / "dataset.yaml"), DataLocations(data_root=root, cache=tmp_path / "cache"))
    assert not found.files_present


def test_a_file_that_disagrees_on_wavelengths_is_refused(scene_folder: Path, locations: DataLocations) -> None:
    write_envi(scene_folder, "envi", made_scene()[0], more="wavelength = {400, 500, 600, 700, 800, 900}\n")
    path = write_yaml(
        scene_folder,
        images=[{"cube": "envi.hdr", "labels": "labels.npy"}],
        wavelengths_nm=[400, 500, 600, 700, 800, 950],
    )
    with pytest.raises(DataError, match="states 900 nm for band 5, the YAML file 950 nm"):
        prepare(str(path), locations)
