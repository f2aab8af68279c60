"""Cubes and labels of every format come back as they were written."""

from __future__ import annotations

from pathlib import Path

import h5py
import numpy as np
import pytest
import tifffile
from made_data import made_scene, write_envi
from PIL import Image
from scipy.io import savemat

from orchestrator.datasets._formats import ArrayFile, read_array, to_HWC
from orchestrator.errors import DataError

CUBE, LABELS = made_scene(height=7, width=9, bands=5)


@pytest.mark.parametrize("interleave", ["bsq", "bil", "bip"])
@pytest.mark.parametrize("byte_order", [0, 1])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "float32", "uint16"])
def test_envi_of_every_order_comes_back(tmp_path: Path, interleave: str, byte_order: int, dtype: str) -> None:
    cube = (CUBE % 200).astype(dtype)
    header = write_envi(tmp_path, "cube", cube, interleave=interleave, byte_order=byte_order)
    for path in (header, tmp_path / "cube.raw"):
        found = read_array(path, dimensions=3)
        assert np.array_equal(found.array, cube)
        assert found.axes == "HWC"


def test_envi_metadata_come_in_nanometres(tmp_path: Path) -> None:
    more = (
        "wavelength units = Micrometers\nwavelength = {0.40, 0.50,\n 0.60, 0.70, 0.80}\nfwhm = {.01,.01,.01,.01,.01}\n"
        "bbl = {1, 1, 0, 1, 1}\ndata ignore value = -9999\nreflectance scale factor = 10000\n"
    )
    found = read_array(write_envi(tmp_path, "cube", CUBE, more=more))
    assert found.wavelengths_nm == (400, 500, 600, 700, 800)
    assert found.fwhm_nm == (10, 10, 10, 10, 10)
    assert found.good_bands == (True, True, False, True, True)
    assert (found.nodata, found.scale) == (-9999, 10000)


def test_envi_data_that_were_cut_are_named(tmp_path: Path) -> None:
    header = write_envi(tmp_path, "cube", CUBE)
    data = tmp_path / "cube.raw"
    data.write_bytes(data.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"cube.raw has 645 bytes, its header states 646"):
        read_array(header)


def test_envi_without_data_or_with_an_unknown_type_is_refused(tmp_path: Path) -> None:
    header = write_envi(tmp_path, "cube", CUBE)
    header.write_text(header.read_text().replace("data type = 12", "data type = 6"))
    with pytest.raises(DataError, match="states data type 6; allowed: 1, 2"):
        read_array(header)
    (tmp_path / "cube.raw").unlink()
    with pytest.raises(DataError, match="no data file beside"):
        read_array(header)


def test_a_header_without_its_first_word_is_refused(tmp_path: Path) -> None:
    header = write_envi(tmp_path, "cube", CUBE)
    header.write_text("samples = 3\n")
    with pytest.raises(DataError, match="is no ENVI header"):
        read_array(header)


def test_matlab_5_finds_the_only_cube_and_the_only_labels(tmp_path: Path) -> None:
    savemat(tmp_path / "both.mat", {"cube": CUBE, "gt": LABELS, "note": 3.0})
    assert np.array_equal(read_array(tmp_path / "both.mat", dimensions=3).array, CUBE)
    assert np.array_equal(read_array(tmp_path / "both.mat", dimensions=2).array, LABELS)


def test_matlab_with_two_cubes_asks_which(tmp_path: Path) -> None:
    savemat(tmp_path / "two.mat", {"a": CUBE, "b": CUBE})
    with pytest.raises(DataError, match=r"2 arrays that could be meant \(a 7x9x5, b 7x9x5\).*cube_variable"):
        read_array(tmp_path / "two.mat", dimensions=3)
    assert np.array_equal(read_array(tmp_path / "two.mat", variable="b").array, CUBE)
    with pytest.raises(DataError, match="holds no array 'c'"):
        read_array(tmp_path / "two.mat", variable="c")


def test_matlab_73_is_turned_back_to_what_matlab_shows(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "new.mat", "w") as file:
        file.create_dataset("cube", data=CUBE.T).attrs["MATLAB_class"] = np.bytes_("uint16")
    assert np.array_equal(read_array(tmp_path / "new.mat", dimensions=3).array, CUBE)


def test_plain_hdf5_is_taken_as_it_is(tmp_path: Path) -> None:
    with h5py.File(tmp_path / "cube.h5", "w") as file:
        file.create_dataset("scene/cube", data=CUBE)
    found = read_array(tmp_path / "cube.h5", dimensions=3)
    assert found.variable == "scene/cube"
    assert np.array_equal(found.array, CUBE)


def test_a_cut_hdf5_or_matlab_file_is_named(tmp_path: Path) -> None:
    savemat(tmp_path / "old.mat", {"cube": CUBE})
    with h5py.File(tmp_path / "new.h5", "w") as file:
        file.create_dataset("cube", data=CUBE)
    for name in ("old.mat", "new.h5"):
        path = tmp_path / name
        path.write_bytes(path.read_bytes()[:300])
        with pytest.raises(DataError, match=rf"cannot read .*{name} \(300 bytes\)"):
            read_array(path, dimensions=3)


def test_geotiff_tells_axes_and_gdal_metadata(tmp_path: Path) -> None:
    items = "".join(
        f'<Item name="wavelength" sample="{b}">{400 + 10 * b}</Item><Item name="bbl" sample="{b}">{int(b != 2)}</Item>'
        for b in range(5)
    )
    xml = f"<GDALMetadata>{items}</GDALMetadata>"
    tifffile.imwrite(
        tmp_path / "cube.tif",
        CUBE.transpose(2, 0, 1),
        planarconfig="separate",
        photometric="minisblack",
        extratags=[(42112, "s", 0, xml, True), (42113, "s", 0, "-32768", True)],
    )
    found = read_array(tmp_path / "cube.tif", dimensions=3)
    assert found.wavelengths_nm == (400, 410, 420, 430, 440)
    assert found.good_bands == (True, True, False, True, True)
    assert (found.nodata, found.axes) == (-32768, "CHW")
    assert np.array_equal(to_HWC(found, 5, (7, 9), None, "cube.tif"), CUBE)


def test_label_pictures_give_ids_not_colours(tmp_path: Path) -> None:
    palette = Image.fromarray(LABELS, mode="P")
    palette.putpalette([value for index in range(256) for value in (255 - index, index, 0)])
    palette.save(tmp_path / "palette.png")
    Image.fromarray(np.repeat(LABELS[:, :, None], 3, axis=2)).save(tmp_path / "grey_rgb.png")
    for name in ("palette.png", "grey_rgb.png"):
        assert np.array_equal(read_array(tmp_path / name, dimensions=2).array, LABELS)


def test_coloured_label_pictures_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.stack([LABELS, LABELS * 2, LABELS], axis=2)).save(tmp_path / "rgb.png")
    with pytest.raises(DataError, match="expected 2 dimensions"):
        read_array(tmp_path / "rgb.png", dimensions=2)


def test_an_unknown_ending_is_refused(tmp_path: Path) -> None:
    (tmp_path / "cube.jp2").write_bytes(b"")
    with pytest.raises(DataError, match=r"ending '.jp2'; allowed: .hdr"):
        read_array(tmp_path / "cube.jp2")


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (2, 1, 0)])
def test_the_order_of_axes_follows_from_bands_and_labels(order: tuple[int, int, int]) -> None:
    found = ArrayFile(array=CUBE.transpose(order))
    assert np.array_equal(to_HWC(found, 5, (7, 9), None, "cube"), CUBE)


def test_a_square_cube_with_its_bands_first_needs_a_word() -> None:
    square = ArrayFile(array=np.zeros((5, 8, 8)))
    with pytest.raises(DataError, match="state axes: CHW or CWH"):
        to_HWC(square, 5, (8, 8), None, "cube")
    assert to_HWC(square, 5, (8, 8), "CWH", "cube").shape == (8, 8, 5)
