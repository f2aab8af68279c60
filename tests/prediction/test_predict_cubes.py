"""Cubes of every format to label maps in their own format, and cubes that do not fit."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import scipy.io
import tifffile
from PIL import Image

from orchestrator.datasets._envi import parse_header
from orchestrator.datasets._formats import read_array
from orchestrator.datasets.registry import get_facts
from orchestrator.errors import ConfigError, DataError
from orchestrator.prediction import FoundModel, find_model, predict_cube
from orchestrator.prediction.predicting import check_cubes
from tests.datasets.made_data import write_envi
from tests.prediction.made_models import BANDS, CLASS_IDS, WAVELENGTHS_NM, made_cube, made_model

CUBE = made_cube(37, 45)


def waves(centres: Any, units: str = "Nanometers") -> str:
    return f"wavelength units = {units}\nwavelength = {{{', '.join(f'{c:g}' for c in centres)}}}\n"


def outcome(prediction: Any, check: str) -> str:
    return next(one["outcome"] for one in prediction.record["checks"] if one["check"] == check)


def test_labels_are_the_data_sets_own_ids(spectral: FoundModel) -> None:
    found = predict_cube(CUBE, spectral)
    index = spectral.load().predict(CUBE)
    assert np.array_equal(found.index_HW, index)
    assert np.array_equal(found.labels_HW, np.array(CLASS_IDS)[index])
    assert [one["id"] for one in found.record["classes"]] == list(CLASS_IDS)
    assert sum(one["pixels"] for one in found.record["classes"]) == CUBE.shape[0] * CUBE.shape[1]


def test_the_classes_of_a_data_set_with_colours_of_its_own_have_them_in_the_picture(tmp_path: Path) -> None:
    facts = get_facts("hyko2")
    some = {"class_names": facts.class_names, "class_ids": facts.class_ids, "dataset": "hyko2"}
    model = find_model(made_model(tmp_path / "model", classes=len(facts.class_names), **some))
    found = predict_cube(CUBE, model, to=tmp_path / "maps")
    assert [one["colour"] for one in found.record["classes"]] == list(facts.class_colours)
    drawn = np.asarray(Image.open(tmp_path / "maps" / "array" / "picture.png")).reshape(-1, 3)
    often = max(found.record["classes"], key=lambda one: one["pixels"])
    assert (drawn == tuple(bytes.fromhex(often["colour"][1:]))).all(1).sum() >= often["pixels"]


def test_an_envi_cube_gives_an_envi_classification_in_the_same_place(spectral: FoundModel, tmp_path: Path) -> None:
    place = "map info = {UTM, 1, 1, 500000, 4480000, 30, 30, 33, North, WGS-84}\n"
    found = predict_cube(
        write_envi(tmp_path, "scene", CUBE, interleave="bil", more=place + waves(WAVELENGTHS_NM)),
        spectral,
        to=tmp_path / "maps",
    )
    folder = tmp_path / "maps" / "scene"
    assert {file.name for file in folder.iterdir()} == {
        "labels.img", "labels.hdr", "confidence.img", "confidence.hdr", "picture.png", "prediction.json",
    }  # fmt: skip
    header = parse_header(folder / "labels.hdr")
    assert header["file type"] == "ENVI Classification"
    assert header["map info"] == place.split(" = ")[1].strip()
    names = [name.strip() for name in header["class names"].strip("{}").split(",")]
    assert len(names) == int(header["classes"]) == 10
    assert (names[0], names[2], names[3]) == ("no data", "water", "soil; bare")
    assert len(header["class lookup"].split(",")) == 30
    assert np.array_equal(read_array(folder / "labels.hdr", dimensions=2).array, found.labels_HW)
    assert np.allclose(read_array(folder / "confidence.hdr", dimensions=2).array, found.confidence_HW)
    assert json.loads((folder / "prediction.json").read_text()) == found.record
    assert outcome(found, "wavelengths") == "ok"


def test_a_geotiff_gives_geotiffs_with_its_tags_and_class_colours(spectral: FoundModel, tmp_path: Path) -> None:
    tags = [
        (33550, 12, 3, (30.0, 30.0, 0.0), True),
        (33922, 12, 6, (0.0, 0.0, 0.0, 5e5, 4.48e6, 0.0), True),
        (34735, 3, 4, (1, 1, 0, 0), True),
        (34737, 2, 0, "WGS 84|", True),
    ]
    options = {"planarconfig": "separate", "photometric": "minisblack", "metadata": None, "extratags": tags}
    for name, compression in (("plain", None), ("packed", "zlib")):
        file = tmp_path / f"{name}.tif"
        tifffile.imwrite(file, CUBE.transpose(2, 0, 1), compression=compression, **options)
        found = predict_cube(file, spectral, to=tmp_path / "maps")
        with tifffile.TiffFile(tmp_path / "maps" / name / "labels.tif") as labels:
            assert np.array_equal(labels.asarray(), found.labels_HW)
            page = labels.pages.first
            assert page.photometric == tifffile.PHOTOMETRIC.PALETTE
            assert page.tags[33922].value == tags[1][3]
            assert page.tags[34735].value == tags[2][3]
            assert page.tags[34737].value.rstrip("\0") == "WGS 84|"
            assert page.tags[42113].value.strip("\0 ") == "0"
        confidence = tifffile.imread(tmp_path / "maps" / name / "confidence.tif")
        assert confidence.dtype == np.float32
        assert 0.25 <= confidence.min() <= confidence.max() <= 1


def test_a_matlab_cube_needs_a_variable_only_where_several_could_be_meant(spectral: FoundModel, tmp_path: Path) -> None:
    file = tmp_path / "scene.mat"
    scipy.io.savemat(file, {"scene": CUBE, "labels": np.zeros((37, 45))})
    wanted = predict_cube(CUBE, spectral).labels_HW
    assert np.array_equal(predict_cube(file, spectral).labels_HW, wanted)
    scipy.io.savemat(file, {"scene": CUBE, "other": np.zeros((3, 4, 5))})
    with pytest.raises(DataError, match=r"scene 37x45x10.*--variable"):
        predict_cube(file, spectral)
    assert np.array_equal(predict_cube(file, spectral, variable="scene").labels_HW, wanted)


def test_the_axis_of_the_bands_is_found_or_asked_for(spectral: FoundModel, tmp_path: Path) -> None:
    wanted = predict_cube(CUBE, spectral).labels_HW
    np.save(tmp_path / "first.npy", CUBE.transpose(2, 0, 1))
    found = predict_cube(tmp_path / "first.npy", spectral)
    assert np.array_equal(found.labels_HW, wanted)
    assert found.record["cube"]["band_axis"] == 0
    square = CUBE[:BANDS]
    with pytest.raises(DataError, match="--band-axis 0 or 2"):
        predict_cube(square, spectral)
    assert np.array_equal(predict_cube(square, spectral, band_axis=2).labels_HW.shape, square.shape[:2])
    with pytest.raises(DataError, match="axis 1 has 45 entries, the model takes 10"):
        predict_cube(CUBE, spectral, band_axis=1)


def test_a_large_cube_is_mapped_and_not_loaded(spectral: FoundModel, tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", CUBE)
    tifffile.imwrite(tmp_path / "b.tif", CUBE.transpose(2, 0, 1), photometric="minisblack", metadata=None)
    files = [tmp_path / "a.npy", tmp_path / "b.tif", write_envi(tmp_path, "c", CUBE)]
    for one in check_cubes(files, spectral):
        assert isinstance(one.cube.cube_HWC, np.memmap), one.cube.path


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (3, 5)])
def test_a_cube_smaller_than_a_training_patch_is_predicted(
    shape: tuple[int, int], unet: FoundModel, tmp_path: Path
) -> None:
    cube = CUBE[: shape[0], : shape[1]]
    tifffile.imwrite(tmp_path / "a.tif", cube.transpose(2, 0, 1), photometric="minisblack", metadata=None)
    for source in (cube, tmp_path / "a.tif", write_envi(tmp_path, "b", cube)):
        assert predict_cube(source, unet).labels_HW.shape == shape


# --- no data -------------------------------------------------------------------------------------------------------


def test_pixels_without_data_get_an_id_of_their_own_and_leave_the_others_alone(
    box_filter: FoundModel, spectral: FoundModel, tmp_path: Path
) -> None:
    cube = CUBE.astype(np.float32)
    cube[3, 4, 5] = np.nan
    cube[20:22, :, 0] = -9999
    file = write_envi(tmp_path, "scene", cube, more="data ignore value = -9999\n")
    missing = np.zeros(cube.shape[:2], dtype=bool)
    missing[3, 4] = missing[20:22] = True
    for model in (spectral, box_filter):
        found = predict_cube(file, model)
        assert np.array_equal(found.labels_HW == 0, missing)
        assert np.array_equal(np.isnan(found.confidence_HW), missing)
        assert found.record["no_data"] == {"id": 0, "index": -1, "pixels": 91}
    whole = predict_cube(CUBE.astype(np.float32), spectral)
    assert np.array_equal(predict_cube(file, spectral).labels_HW[~missing], whole.labels_HW[~missing])


def test_a_cube_without_any_data_is_a_warning_and_no_error(unet: FoundModel, tmp_path: Path) -> None:
    found = predict_cube(np.full((20, 30, BANDS), np.nan), unet, to=tmp_path)
    assert (found.labels_HW == 0).all()
    assert any("no pixel holds data" in warning for warning in found.record["warnings"])
    assert json.loads((tmp_path / "array" / "prediction.json").read_text())["no_data"]["pixels"] == 600


def test_zero_is_not_the_id_of_no_data_where_it_is_a_class(tmp_path: Path) -> None:
    model = find_model(made_model(tmp_path, class_ids=(0, 1, 2, 3)))
    cube = CUBE.astype(float)
    cube[0, 0] = np.inf
    found = predict_cube(cube, model)
    assert found.labels_HW[0, 0] == found.record["no_data"]["id"] == 255


# --- does it fit? --------------------------------------------------------------------------------------------------


def test_another_number_of_bands_is_refused(spectral: FoundModel) -> None:
    with pytest.raises(DataError, match=r"shape \(37, 45, 9\); this model takes 10; give a cube of the sensor"):
        predict_cube(CUBE[..., :9], spectral)


def test_bands_that_the_data_set_drops_are_dropped_from_the_original(tmp_path: Path, spectral: FoundModel) -> None:
    model = find_model(made_model(tmp_path, dropped_bands=(2, 7)))
    original = np.insert(CUBE, (2, 6), 0, axis=2)
    centres = np.insert(WAVELENGTHS_NM, (2, 6), 1300)
    file = write_envi(tmp_path, "scene", original, more=waves(centres))
    found = predict_cube(file, model)
    assert np.array_equal(found.labels_HW, predict_cube(CUBE, spectral).labels_HW)
    assert "2 dropped as in made: 2, 7" in found.record["checks"][0]["text"]
    assert outcome(found, "wavelengths") == "ok"


@pytest.mark.parametrize(("units", "factor"), [("Micrometers", 1e-3), ("Nanometers", 1e-3), ("Nanometers", 1.0001)])
def test_wavelengths_in_micrometres_are_converted(
    units: str, factor: float, spectral: FoundModel, tmp_path: Path
) -> None:
    file = write_envi(tmp_path, "scene", CUBE, more=waves(np.array(WAVELENGTHS_NM) * factor, units))
    assert outcome(predict_cube(file, spectral), "wavelengths") == ("ok" if factor > 1 else "changed")


@pytest.mark.parametrize(
    ("order", "words"),
    [
        (range(BANDS)[::-1], "reverse them: cube"),
        ([1, 0, *range(2, BANDS)], "another order: band 0 .* lies at 490 nm, the model's at 450 nm; sort them"),
    ],
)
def test_bands_in_another_order_are_refused_with_what_to_do(
    order: Any, words: str, spectral: FoundModel, tmp_path: Path
) -> None:
    file = write_envi(tmp_path, "scene", CUBE, more=waves(np.array(WAVELENGTHS_NM)[list(order)]))
    with pytest.raises(DataError, match=words):
        predict_cube(file, spectral)


def test_other_band_centres_are_refused_unless_they_are_to_be_ignored(spectral: FoundModel, tmp_path: Path) -> None:
    # half the distance of 40 nm is allowed
    file = write_envi(tmp_path, "near", CUBE, more=waves(np.array(WAVELENGTHS_NM) + 19))
    assert outcome(predict_cube(file, spectral), "wavelengths") == "ok"
    file = write_envi(tmp_path, "far", CUBE, more=waves(np.array(WAVELENGTHS_NM) + 30))
    with pytest.raises(DataError, match=r"10 of 10 centres .* 480 nm against 450 nm \(allowed: 20 nm\); resample"):
        predict_cube(file, spectral)
    found = predict_cube(file, spectral, ignore_wavelengths=True)
    assert found.record["warnings"][0].startswith("ignored as asked")


def test_numbers_in_another_unit_are_refused_with_the_factor_that_mends_it(spectral: FoundModel) -> None:
    reflectance = CUBE / 10000
    with pytest.raises(DataError, match=r"another unit .* --scale 10000; --scale 1 predicts them as they are"):
        predict_cube(reflectance, spectral)
    wanted = predict_cube(CUBE, spectral)
    found = predict_cube(reflectance, spectral, scale=10000)
    assert (found.labels_HW != wanted.labels_HW).mean() < 0.01
    assert not found.record["warnings"]
    assert "another unit" in predict_cube(reflectance, spectral, scale=1).record["warnings"][0]


def test_the_files_own_scale_factor_is_used(spectral: FoundModel, tmp_path: Path) -> None:
    percent = (CUBE / 100).astype(np.float32)
    file = write_envi(tmp_path, "scene", percent, more="reflectance scale factor = 100\n")
    found = predict_cube(file, spectral)
    assert outcome(found, "scale") == "changed"
    assert (found.labels_HW != predict_cube(CUBE, spectral).labels_HW).mean() < 0.01


def test_numbers_far_outside_the_training_range_are_a_warning(spectral: FoundModel) -> None:
    found = predict_cube(CUBE.astype(np.uint32) * 6, spectral)
    assert "lie far outside the training range" in found.record["warnings"][0]


# --- files and places ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("absent.hdr", None, "absent.hdr not found"),
        ("text.hdr", "dear diary", "text.hdr"),
        ("text.npy", "dear diary", "cannot read .*text.npy .10 bytes"),
        ("text.tif", "dear diary", "cannot read .*text.tif"),
        ("text.mat", "dear diary", "cannot read .*text.mat"),
        ("scene.png", "dear diary", r"has the ending '.png'; allowed: .hdr"),
    ],
)
def test_a_file_that_is_no_cube_is_told_by_its_name(
    name: str, content: str | None, words: str, spectral: FoundModel, tmp_path: Path
) -> None:
    if content is not None:
        (tmp_path / name).write_text(content)
    with pytest.raises(DataError, match=words):
        predict_cube(tmp_path / name, spectral, to=tmp_path / "maps")


def test_results_are_replaced_only_when_that_is_asked_for(spectral: FoundModel, tmp_path: Path) -> None:
    np.save(tmp_path / "scene.npy", CUBE)
    predict_cube(tmp_path / "scene.npy", spectral, to=tmp_path / "maps")
    with pytest.raises(ConfigError, match="holds results already; allowed: --overwrite"):
        predict_cube(tmp_path / "scene.npy", spectral, to=tmp_path / "maps")
    tifffile.imwrite(tmp_path / "scene.tif", CUBE.transpose(2, 0, 1), photometric="minisblack", metadata=None)
    found = predict_cube(tmp_path / "scene.tif", spectral, to=tmp_path / "maps", overwrite=True)
    assert {file.name for file in (tmp_path / "maps" / "scene").iterdir()} == {file.name for file in found.files}
    assert not (tmp_path / "maps" / "scene" / "labels.npy").exists()


def test_a_folder_that_cannot_be_written_is_told_before_anything_is_predicted(
    spectral: FoundModel, tmp_path: Path
) -> None:
    (tmp_path / "a_file").touch()
    with pytest.raises(ConfigError, match="cannot be written .*--to"):
        predict_cube(CUBE, spectral, to=tmp_path / "a_file" / "maps")


def test_cubes_of_one_name_get_folders_of_their_own(spectral: FoundModel, tmp_path: Path) -> None:
    for day in ("day1", "day2"):
        (tmp_path / day).mkdir()
        np.save(tmp_path / day / "scene.npy", CUBE)
    files = [tmp_path / day / "scene.npy" for day in ("day1", "day2")]
    checked = check_cubes(files, spectral, to=tmp_path / "maps")
    assert [one.folder.name for one in checked if one.folder] == ["scene", "scene-2"]


def test_a_numbered_folder_never_takes_the_name_of_another_cube(spectral: FoundModel, tmp_path: Path) -> None:
    files = [tmp_path / folder / f"{name}.npy" for folder, name in zip("abcd", ("x-2", "x", "x", "x"), strict=True)]
    for file in files:
        file.parent.mkdir()
        np.save(file, CUBE)
    checked = check_cubes(files, spectral, to=tmp_path / "out")
    assert [one.folder.name for one in checked if one.folder] == ["x-2", "x", "x-3", "x-4"]


def test_one_cube_that_does_not_fit_stops_all_before_the_first(spectral: FoundModel, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="this model takes 10"):
        check_cubes([CUBE, CUBE[..., :4]], spectral, to=tmp_path / "maps")
    assert not (tmp_path / "maps").exists()
