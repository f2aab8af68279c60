"""`data init` writes what the files say and asks for the rest; the loader refuses until all is answered."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import yaml
from made_data import made_scene, write_envi
from PIL import Image
from scipy.io import savemat

from orchestrator.datasets.init import draft, write_draft
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.registry import get_facts
from orchestrator.datasets.store import open_prepared
from orchestrator.errors import ConfigError, DataError

CENTRES = "wavelength units = Nanometers\nwavelength = {400, 500, 600, 700, 800, 900}\nbbl = {1, 1, 1, 1, 1, 0}\n"


@pytest.fixture
def envi_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "field campaign"
    folder.mkdir()
    cube, labels = made_scene()
    write_envi(folder, "plot", cube, interleave="bil", more=CENTRES + "data ignore value = 65535\n")
    Image.fromarray(labels).save(folder / "plot_gt.png")
    return folder


def _answered(text: str) -> dict[str, object]:
    settings = yaml.safe_load(text)
    answers = {"domain": "remote", "sensor": "made", "quantity": "raw", "scale": 1, "labels": "human"}
    settings |= {key: value for key, value in answers.items() if str(settings[key]).startswith("TODO")}
    settings["classes"] = {key: f"class {key}" for key in settings["classes"]}
    settings["ignored_ids"] = [0]
    return settings


def test_an_envi_folder_is_described_and_the_rest_is_asked(envi_folder: Path) -> None:
    found = draft(envi_folder)
    settings = yaml.safe_load(found.text)
    assert settings["name"] == "field campaign"
    assert settings["bands"] == 6
    assert settings["image_size_px"] == [40, 48]
    assert settings["wavelengths_nm"] == [400, 500, 600, 700, 800, 900]
    assert settings["dropped_bands"] == [5]
    assert settings["nodata"] == 65535
    assert settings["images"] == [{"cube": "plot.hdr", "labels": "plot_gt.png"}]
    assert list(settings["classes"]) == [1, 2, 3]
    asked = [question.split(":")[0] for question in found.questions]
    assert asked == [
        "domain",
        "sensor",
        "quantity",
        "scale",
        "classes.1",
        "classes.2",
        "classes.3",
        "ignored_ids",
        "labels",
    ]


def test_every_question_comes_with_its_line_and_what_the_numbers_look_like(envi_folder: Path) -> None:
    found = draft(envi_folder)
    lines = found.text.splitlines()
    assert len(found.lines) == len(found.questions)
    for line, question in zip(found.lines, found.questions, strict=True):
        assert lines[line - 1].strip().startswith(f"{question.split(':')[0].split('.')[-1]}: ")
    (scale,) = [question for question in found.questions if question.startswith("scale")]
    assert "the file holds uint16, about " in scale


def test_an_id_that_the_label_file_calls_unclassified_is_no_question(tmp_path: Path) -> None:
    cube, labels = made_scene()
    write_envi(tmp_path, "plot", cube)
    names = "classes = 4\nclass names = {Unclassified, stripes, field, rest}\n"
    write_envi(tmp_path, "plot_labels", labels[:, :, None], more=names)
    found = draft(tmp_path)
    settings = yaml.safe_load(found.text)
    assert settings["ignored_ids"] == [0]
    assert settings["classes"] == {1: "stripes", 2: "field", 3: "rest"}


def test_a_cube_to_be_predicted_beside_a_labelled_scene_is_left_out_and_told(envi_folder: Path) -> None:
    write_envi(envi_folder, "next_year", made_scene(seed=1)[0])
    found = draft(envi_folder)
    settings = yaml.safe_load(found.text)
    assert [image["cube"] for image in settings["images"]] == ["plot.hdr"]
    assert settings["split"] == "block"
    assert found.notes == ("left out, no label image: next_year.hdr",)
    assert "# left out, no label image: next_year.hdr" in found.text


def test_the_loader_refuses_open_questions_and_takes_the_answers(envi_folder: Path, locations: DataLocations) -> None:
    path = write_draft(envi_folder, draft(envi_folder).text)
    with pytest.raises(ConfigError, match=r"(?s)9 open questions.*quantity: one of toa_reflectance"):
        get_facts(str(path))
    path.write_text(yaml.safe_dump(_answered(path.read_text())))
    prepared = open_prepared(prepare(str(path), locations))
    assert np.array_equal(prepared.images[0].cube_HWC, made_scene()[0][:, :, :5])
    assert prepared.facts.wavelengths_nm == (400, 500, 600, 700, 800)


def test_an_existing_yaml_is_never_overwritten(envi_folder: Path) -> None:
    write_draft(envi_folder, "mine")
    with pytest.raises(DataError, match="exists and is kept"):
        write_draft(envi_folder, "other")


def test_several_cubes_are_paired_by_name_and_lists_are_found(tmp_path: Path, locations: DataLocations) -> None:
    for index in range(4):
        cube, labels = made_scene(index, 16, 20)
        np.save(tmp_path / f"day{index}_cube.npy", cube)
        np.save(tmp_path / f"day{index}_labels.npy", labels)
    (tmp_path / "train.txt").write_text("day0_cube\nday1_cube\n")
    (tmp_path / "val.txt").write_text("day2_cube\n")
    (tmp_path / "test_files.txt").write_text("day3_cube\n")
    found = draft(tmp_path)
    settings = yaml.safe_load(found.text)
    assert [image["labels"] for image in settings["images"]] == [f"day{index}_labels.npy" for index in range(4)]
    assert settings["split_lists"] == {"train": "train.txt", "validation": "val.txt", "test": "test_files.txt"}
    assert any(question.startswith("wavelengths_nm") for question in found.questions)
    answered = {**_answered(found.text), "wavelengths_nm": None}
    path = tmp_path / "dataset.yaml"
    path.write_text(yaml.safe_dump(answered))
    assert open_prepared(prepare(str(path), locations)).folds[0].train == ("day0_cube", "day1_cube")


def test_one_matlab_file_with_both_arrays_names_its_variables(tmp_path: Path) -> None:
    cube, labels = made_scene()
    savemat(tmp_path / "scene.mat", {"hsi": cube, "gt": labels})
    settings = yaml.safe_load(draft(tmp_path).text)
    assert settings["images"] == [
        {"cube": "scene.mat", "cube_variable": "hsi", "labels": "scene.mat", "labels_variable": "gt"}
    ]


def test_labels_that_cannot_be_told_apart_are_asked_for(tmp_path: Path) -> None:
    for index in range(2):
        np.save(tmp_path / f"cube{index}.npy", made_scene(index)[0])
        np.save(tmp_path / f"other{index}.npy", made_scene(index)[1])
    found = draft(tmp_path)
    assert any("candidates: other0.npy, other1.npy" in question for question in found.questions)


def test_a_square_cube_with_its_bands_first_is_asked_about(tmp_path: Path) -> None:
    cube, labels = made_scene(height=30, width=30)
    np.save(tmp_path / "cube.npy", cube.transpose(2, 0, 1))
    np.save(tmp_path / "gt.npy", labels)
    found = draft(tmp_path)
    assert yaml.safe_load(found.text)["bands"] == 6
    assert any(question.startswith("axes: CHW or CWH") for question in found.questions)


def test_a_damaged_file_is_named_in_the_draft(envi_folder: Path) -> None:
    write_envi(envi_folder, "second", made_scene()[0])
    (envi_folder / "second.raw").write_bytes(b"short")
    assert "# not read: second.hdr:" in draft(envi_folder).text


def test_a_folder_without_a_cube_or_an_absent_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no cube that can be read"):
        draft(tmp_path)
    with pytest.raises(DataError, match="not found"):
        draft(tmp_path / "absent")
