"""Files in the original formats of HS3-Bench, byte by byte, and what becomes of them."""

from __future__ import annotations

import struct
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import loadmat, savemat, whosmat

from orchestrator.datasets._hs3_marker import MARKER
from orchestrator.datasets._hsd import half, halved, read_header, read_hsd
from orchestrator.datasets._low_rank import LowRankCube
from orchestrator.datasets.hyko2 import LABELS_KEY
from orchestrator.datasets.imitate import imitate, shares_of
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.registry import definition_at, get_facts, status
from orchestrator.errors import ConfigError, DataError
from tests.support.hs3_files import STEMS, generated, prepared, write_hdf5

NAMES = ("hyko2", "hsi_drive", "hcv2")


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataLocations:
    return generated(tmp_path_factory.mktemp("generated"), *NAMES)


def folder(root: DataLocations, name: str) -> Path:
    assert root.data_root is not None
    return root.data_root / "proximal" / name


# --- the generated files have the original formats --------------------------------------------------------------------


def test_hyko2_files_hold_the_eight_arrays_and_one_lacks_the_semantic_labels(root: DataLocations) -> None:
    files = sorted(folder(root, "hyko2").glob("set-_?????_spec_annotated.mat"))
    keys = [{name for name, _, _ in whosmat(file)} for file in files]
    assert len(files) == 11
    whole = {
        "data", "wavelengths", "image", "stats", LABELS_KEY, "id_Semantic Classes for Urban Scenes",
        "id_spectral_reflectances", "label_spectral_reflectances",
    }  # fmt: skip
    assert sum(found == whole for found in keys) == 10
    assert sum(found == whole - {LABELS_KEY, "id_Semantic Classes for Urban Scenes"} for found in keys) == 1
    cube = loadmat(files[0])["data"]
    assert (cube.dtype, cube.shape) == (np.float64, (40, 56, 15))
    assert cube.min() >= 0
    assert cube.max() <= 1
    assert files[0].read_bytes()[:19] == b"MATLAB 5.0 MAT-file"


def test_hsi_drive_files_are_band_first_with_labels_as_grey_pictures(root: DataLocations) -> None:
    base = folder(root, "hsi_drive") / "Image_dataset"
    cubes = sorted((base / "cubes_fl32").glob("nf????_???_TC.mat"))
    assert len(cubes) == 10
    assert (base / "cubes_fl32" / "MF").is_dir()
    cube = loadmat(cubes[0])["cube"]
    assert (cube.dtype, cube.shape) == (np.float32, (25, 36, 52))
    ids = set()
    for cube_file in cubes:
        picture = Image.open(base / "labels" / cube_file.name.replace("_TC.mat", ".png"))
        assert (picture.mode, picture.size) == ("L", (52, 36))
        ids |= set(np.unique(np.asarray(picture)).tolist())
    assert ids == set(range(11))


def test_hsd_files_have_the_published_header(root: DataLocations) -> None:
    files = sorted(folder(root, "hcv2").glob("*/*.hsd"))
    assert {file.parent.name for file in files} == {"train", "test"}
    height, width, bands, rank, start, step, end = struct.unpack("<5ifi", files[0].read_bytes()[:28])
    assert (height, width, bands, rank, start, step, end) == (75, 101, 128, 8, 450, 4.0, 958)
    assert files[0].stat().st_size == 28 + 4 * (128 + 8 * 128 + 75 * 101 * 8)
    label = np.asarray(Image.open(files[0].parent / "gt" / f"rgb{files[0].stem}_gray.png"))
    assert label.shape == (75, 101)
    assert set(np.unique(label).tolist()) <= {*range(19), 255}


def test_the_same_seed_writes_the_same_files_and_another_one_others(tmp_path: Path) -> None:
    digests = [
        prepared("hsi_drive", generated(tmp_path / str(index), "hsi_drive", images=3, seed=seed)).digest
        for index, seed in enumerate((1, 1, 2))
    ]
    assert digests[0] == digests[1] != digests[2]


def test_generated_images_are_shared_out_as_the_real_ones() -> None:
    assert shares_of(162, (81, 32, 49)) == (81, 32, 49)
    assert shares_of(10, (451, 150, 151)) == (6, 2, 2)
    assert shares_of(3, (949, 105, 276)) == (1, 1, 1)


def test_nothing_is_written_over_and_wrong_wishes_are_refused(tmp_path: Path) -> None:
    (tmp_path / "proximal" / "hyko2").mkdir(parents=True)
    (tmp_path / "proximal" / "hyko2" / "set-_00044_spec_annotated.mat").write_bytes(b"real")
    with pytest.raises(DataError, match="perhaps real"):
        imitate("hyko2", tmp_path)
    with pytest.raises(ConfigError, match="allowed: 3 or more"):
        imitate("hcv2", tmp_path, images=2)
    with pytest.raises(ConfigError, match="Known: hcv2, hsi_drive, hyko2"):
        imitate("samson", tmp_path)


# --- generated is told everywhere -------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", [*NAMES, "hcv2_2024", "hsi_drive_legacy_linspace"])
def test_generated_files_are_never_taken_for_the_real_ones(root: DataLocations, name: str) -> None:
    facts = status(name, root).facts
    assert facts.labels == "generated"
    assert facts.title.startswith("GENERATED")
    assert "invented" in facts.notes[0]
    assert "no real data" in facts.licence
    assert (get_facts(name).labels, get_facts(name).num_images > 100) == ("human", True)
    store = prepared(name, root)
    assert store.facts.labels == "generated"
    assert status(name, root).digest == store.digest


def test_a_marker_that_cannot_be_read_still_marks(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hyko2", images=3)
    (tmp_path / "proximal" / "hyko2" / MARKER).write_text("broken")
    assert definition_at("hyko2", locations).facts.labels == "generated"


# --- reading ----------------------------------------------------------------------------------------------------------


def test_hyko2_is_read_as_it_is_stored_and_the_bare_cube_is_told(
    root: DataLocations, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    assert root.data_root is not None
    store = prepared("hyko2", DataLocations(data_root=root.data_root, cache=tmp_path))
    assert len(store.images) == 10
    assert "1 cube without 'label_Semantic Classes for Urban Scenes' left out" in caplog.text
    assert "set-_" in store.notes[0]
    image = store.images[3]
    original = loadmat(folder(root, "hyko2") / f"{image.name}.mat")
    assert np.array_equal(image.cube_HWC, original["data"])
    assert np.array_equal(image.labels_HW, original[LABELS_KEY].astype(np.int16) - 1)


def test_hsi_drive_keeps_the_mosaic_order_and_ignores_water(root: DataLocations) -> None:
    store = prepared("hsi_drive", root)
    base = folder(root, "hsi_drive") / "Image_dataset"
    image = store.images[0]
    stored = loadmat(base / "cubes_fl32" / f"{image.name}_TC.mat")["cube"]
    ids = np.asarray(Image.open(base / "labels" / f"{image.name}.png"))
    assert np.array_equal(image.cube_HWC, stored.transpose(1, 2, 0))
    expected = {0: -1, 1: 0, 2: 1, 3: 2, 4: 3, 5: 4, 6: 5, 7: 6, 8: -1, 9: 7, 10: 8}
    assert np.array_equal(image.labels_HW, np.vectorize(expected.get)(ids))
    wavelengths = store.facts.wavelengths_nm or ()
    assert wavelengths[:5] == (888.48, 897.66, 879.13, 869.11, 956.11)
    legacy = prepared("hsi_drive_legacy_linspace", root)
    assert "COMPATIBILITY" in legacy.facts.wavelengths_provenance
    assert np.allclose(legacy.facts.wavelengths_nm or (), np.linspace(535, 975, 25))
    assert legacy.digest != store.digest


def test_hcv2_stays_scores_and_is_decoded_as_the_format_says(root: DataLocations) -> None:
    store = prepared("hcv2", root)
    image = store.images[2]
    cube = image.cube_HWC
    assert isinstance(cube, LowRankCube)
    assert (cube.shape, cube.rank) == ((38, 50, 128), 8)
    file = next(folder(root, "hcv2").glob(f"*/{image.name}.hsd"))
    numbers = np.frombuffer(file.read_bytes()[28:], dtype="<f4")
    mean, coefficients = numbers[:128], numbers[128 : 128 * 9].reshape(8, 128)
    decoded = (numbers[128 * 9 :].reshape(75, 101, 8) @ coefficients + mean)[0:75:2, 0:100:2]
    assert np.allclose(np.asarray(cube), decoded, atol=1e-5)
    assert np.asarray(cube).min() < 0
    labels = np.asarray(Image.open(file.parent / "gt" / f"rgb{image.name}_gray.png")).astype(int)[0:75:2, 0:100:2]
    assert np.array_equal(image.labels_HW, np.where(labels == 255, -1, labels))
    assert (store.facts.wavelengths_nm or ())[:2] == (450.0, 454.0)
    assert "Headers" in store.facts.wavelengths_provenance


def test_half_resolution_drops_the_last_column_of_the_real_size() -> None:
    assert (half(1422), half(1889)) == (711, 944)
    assert halved(np.zeros((1422, 1889), dtype=np.int8)).shape == (711, 944)
    odd = np.arange(15 * 21).reshape(15, 21)
    assert np.array_equal(halved(odd), odd[::2, : 2 * half(21) : 2])


def test_labels_of_hcv2_may_lie_beside_the_cubes(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hcv2", images=3)
    before = prepared("hcv2", locations).digest
    for picture in (tmp_path / "proximal" / "hcv2").glob("*/gt/*.png"):
        picture.rename(picture.parent.parent / picture.name)
    assert prepared("hcv2", DataLocations(data_root=tmp_path, cache=tmp_path / "other")).digest == before


# --- HDF5 of the reference code ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", NAMES)
def test_hdf5_files_of_the_reference_code_stand_for_the_originals(tmp_path: Path, name: str) -> None:
    source = generated(tmp_path / "source", name, images=5)
    store = prepared(name, source)
    base = folder(source, name)
    lists = {side: store.folds[0].__getattribute__(key) for side, key in
             (("train", "train"), ("val", "validation"), ("test", "test"))}  # fmt: skip
    size = store.facts.image_size_px
    ending = "_TC" if name == "hsi_drive" else ""
    write_hdf5(base, STEMS[name], lists, bands=store.facts.num_bands, size=size, ending=ending)
    for old in [*base.glob("*.mat"), *base.glob("*/*.hsd")]:
        old.unlink()
    read = prepared(name, DataLocations(data_root=source.data_root, cache=tmp_path / "cache"))
    assert [image.name for image in read.images] == sorted(image.name for image in store.images)
    assert [set(side) for side in lists.values()] == [
        set(read.folds[0].train), set(read.folds[0].validation), set(read.folds[0].test)
    ]  # fmt: skip
    image = read.images[0]
    side = next(side for side, names in lists.items() if image.name in names)
    with h5py.File(base / f"{STEMS[name]}_{side}.h5") as file:
        assert np.array_equal(image.cube_HWC, file[f"{image.name}{ending}"]["image"][()])
    assert read.digest != store.digest


def test_hdf5_of_the_other_protocol_is_refused_with_both_hashes(tmp_path: Path) -> None:
    source = generated(tmp_path, "hcv2", images=10)
    fold = prepared("hcv2", source).folds[0]
    write_hdf5(
        folder(source, "hcv2"), "hcv2", {"train": fold.train, "val": fold.validation, "test": fold.test},
        bands=128, size=(38, 50),
    )  # fmt: skip
    with pytest.raises(DataError, match=r"membership hash [0-9a-f]{16}, expected [0-9a-f]{16}\); .*split of hcv2:"):
        prepared("hcv2_2024", DataLocations(data_root=tmp_path, cache=tmp_path / "other"))


def test_an_hdf5_group_without_labels_is_told(tmp_path: Path) -> None:
    source = generated(tmp_path, "hyko2", images=3)
    base = folder(source, "hyko2")
    write_hdf5(base, "hyko2", {"train": ["a"], "val": ["b"], "test": ["c"]}, bands=15, size=(8, 8))
    with h5py.File(base / "hyko2_val.h5", "a") as file:
        del file["b"]["labels"]
    with pytest.raises(DataError, match="group 'b' of .*hyko2_val.h5 has no 'labels'; it holds: image"):
        prepared("hyko2", source)


# --- bad input --------------------------------------------------------------------------------------------------------


def test_a_missing_file_of_a_list_is_named(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hsi_drive", images=4)
    gone = sorted((tmp_path / "proximal/hsi_drive/Image_dataset/labels").glob("*.png"))[1]
    gone.unlink()
    found = status("hsi_drive", locations)
    assert not found.files_present
    assert gone.name in found.reason
    with pytest.raises(DataError, match=gone.name):
        prepared("hsi_drive", locations)


def test_a_cube_of_another_shape_is_refused(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hsi_drive", images=4)
    file = sorted((tmp_path / "proximal/hsi_drive/Image_dataset/cubes_fl32").glob("*_TC.mat"))[0]
    savemat(file, {"cube": np.zeros((36, 52, 25), dtype=np.float32)})
    with pytest.raises(DataError, match=r"holds a cube of shape \(36, 52, 25\), expected \(25, 36, 52\)"):
        prepared("hsi_drive", locations)


def test_a_label_id_out_of_range_is_named(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hsi_drive", images=4)
    file = sorted((tmp_path / "proximal/hsi_drive/Image_dataset/labels").glob("*.png"))[0]
    Image.fromarray(np.full((36, 52), 77, dtype=np.uint8)).save(file)
    with pytest.raises(DataError, match=r"label ids \[77\] are neither a class"):
        prepared("hsi_drive", locations)


def test_a_truncated_hsd_is_told_with_its_bytes(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hcv2", images=4)
    file = sorted((tmp_path / "proximal/hcv2/train").glob("*.hsd"))[-1]
    file.write_bytes(file.read_bytes()[:-5])
    with pytest.raises(DataError, match=r"its header promises \d+ .*it was cut short"):
        prepared("hcv2", locations)
    (tmp_path / "short.hsd").write_bytes(b"abc")
    with pytest.raises(DataError, match="the header alone has 28"):
        read_header(tmp_path / "short.hsd")
    (tmp_path / "odd.hsd").write_bytes(struct.pack("<5ifi", -4, 5, 128, 3, 450, 4.0, 958))
    with pytest.raises(DataError, match="damaged or of another format"):
        read_hsd(tmp_path / "odd.hsd")


def test_too_few_cubes_with_labels_are_told_for_the_real_set(tmp_path: Path) -> None:
    source = generated(tmp_path, "hyko2", images=4)
    (folder(source, "hyko2") / MARKER).unlink()
    assert "5 .mat files, the benchmark has 162" in status("hyko2", source).reason
