"""Splits, label budgets, neighbours, the store and the archives of the HS3-Bench data sets."""

from __future__ import annotations

import io
import os
import shutil
import zipfile
from pathlib import Path

import numpy as np
import py7zr
import pytest
import pyzipper
import torch
from test_dataset_fetch import Server, server  # noqa: F401 - a fixture

from orchestrator.datasets import _building
from orchestrator.datasets._archives import unpack
from orchestrator.datasets._base import FoldPlan
from orchestrator.datasets._false_colour import false_colour, three_bands, write_cubes
from orchestrator.datasets._hs3_splits import (
    fold_of,
    hcv2_fold,
    hyko2_fold,
    list_hash,
    membership_hash,
    permutation,
    read_lists,
)
from orchestrator.datasets._low_rank import LowRankCube
from orchestrator.datasets._neighbours import near_images
from orchestrator.datasets.audit import audit
from orchestrator.datasets.fetch import fetch
from orchestrator.datasets.hyko2 import HASHES
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.registry import get_facts, status
from orchestrator.datasets.statistics import band_statistics
from orchestrator.datasets.tasks import Task, draw_task
from orchestrator.errors import ConfigError, DataError
from orchestrator.plan.cells import LabelBudget
from orchestrator.plan.epochs import images_of_budget
from orchestrator.plan.versions import IMPLEMENTATION, implementation_of
from tests.support.hs3_files import generated, prepared

PASSWORD = "correct horse"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> DataLocations:
    return generated(tmp_path_factory.mktemp("generated"), "hyko2", "hsi_drive", "hcv2", images=12)


@pytest.fixture(scope="module")
def lists() -> Path:
    folder = Path(os.environ.get("HSFM_DATA_ROOT", "")) / "hs3bench_splits"
    if not folder.is_dir():
        pytest.skip("needs the published lists: set HSFM_DATA_ROOT to a folder with hs3bench_splits/")
    return folder


# --- splits -----------------------------------------------------------------------------------------------------------


def test_the_formula_gives_the_published_lists_of_hyko2(lists: Path) -> None:
    published = read_lists("hyko2", lists, "hyko2_{side}.csv")
    names = [*published.train, *published.validation, *published.test]
    found = hyko2_fold(sorted(names, reverse=True))
    assert found == published
    sides = zip(("train", "val", "test"), (found.train, found.validation, found.test), strict=True)
    assert {side: list_hash(part, ending=".mat") for side, part in sides} == HASHES


def test_published_splits_leak_by_neighbours_as_is_known(lists: Path) -> None:
    hyko2 = near_images(read_lists("hyko2", lists, "hyko2_{side}.csv"))
    hsi_drive = near_images(read_lists("hsi_drive", lists, "hsidrive_{side}.csv"))
    assert [(one.near, one.tested) for one in hyko2] == [(31, 49)]
    assert [(one.near, one.tested) for one in hsi_drive] == [(108, 151), (137, 151), (151, 151)]


def test_the_two_splits_of_hcv2_validate_on_disjoint_images_and_share_the_test() -> None:
    train, test = [f"a{index:04d}" for index in range(1054)], [f"b{index:03d}" for index in range(276)]
    drawn = [train[index] for index in permutation(1054)]
    new, old = hcv2_fold(train, test, "2026"), hcv2_fold(train, test, "2024")
    assert [len(side) for side in (new.train, new.validation, new.test)] == [949, 105, 276]
    assert [len(side) for side in (old.train, old.validation, old.test)] == [949, 105, 276]
    assert new.validation == tuple(drawn[527:632])
    assert set(new.train) == {*drawn[:527], *drawn[632:]}
    assert old.validation == tuple(drawn[949:])
    assert not set(new.validation) & set(old.validation)
    assert new.test == old.test
    assert membership_hash(new) != membership_hash(old)


def test_hcv2_is_near_in_time_where_names_say_so() -> None:
    fold = FoldPlan(
        train=("20210409_140000_01",), validation=("20210409_141000_02",),
        test=("20210409_140004_03", "20210409_141008_00"),
    )  # fmt: skip
    assert [(one.near, one.tested, one.seen) for one in near_images(fold)] == [
        (1, 2, "train or validation"), (2, 2, "train or validation")
    ]  # fmt: skip
    assert near_images(FoldPlan(train=("day01",), validation=(), test=("day02",))) == ()


def test_a_name_twice_or_on_two_sides_is_named() -> None:
    with pytest.raises(DataError, match="the train list names 'a' twice"):
        fold_of("made", {"train": ["a", "b", "a"], "val": ["c"], "test": ["d"]})
    with pytest.raises(DataError, match="'b' is in the train and in the test list"):
        fold_of("made", {"train": ["a", "b"], "val": ["c"], "test": ["b"]})


@pytest.mark.parametrize("name", ["hyko2", "hsi_drive", "hcv2", "hcv2_2024"])
def test_a_split_file_with_a_sample_on_two_sides_stops_the_preparation(tmp_path: Path, name: str) -> None:
    locations = generated(tmp_path, name.removesuffix("_2024"), images=5)
    folder = next((tmp_path / "proximal").glob("*/splits_2024" if name.endswith("2024") else "*/splits"))
    with (folder / "val.csv").open("a") as file:
        file.write((folder / "test.csv").read_text().splitlines()[0] + "\n")
    with pytest.raises(DataError, match="is in the val and in the test list"):
        prepare(name, locations)


def test_a_split_list_that_names_a_missing_image_stops_the_preparation(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hyko2", images=4)
    with (tmp_path / "proximal/hyko2/splits/val.csv").open("a") as file:
        file.write("set-_99999_spec_annotated.mat\n")
    with pytest.raises(DataError, match="'set-_99999_spec_annotated', which is not in the set"):
        prepare("hyko2", locations)


def test_a_changed_list_of_hsi_drive_is_refused(tmp_path: Path) -> None:
    locations = generated(tmp_path, "hsi_drive", images=4)
    base = tmp_path / "proximal" / "hsi_drive"
    (tmp_path / "hs3bench_splits").mkdir()
    for side in ("train", "val", "test"):
        shutil.copy(base / "splits" / f"{side}.csv", tmp_path / "hs3bench_splits" / f"hsidrive_{side}.csv")
    next(base.glob("GENERATED*")).unlink()
    with pytest.raises(DataError, match="has SHA-256 .*, published is 00af62dea6b0438b"):
        prepare("hsi_drive", locations)


# --- label budgets ----------------------------------------------------------------------------------------------------


def task(locations: DataLocations, name: str, value: float, seed: int = 42, sampler: str = "whole_images") -> Task:
    budget = LabelBudget(kind="fraction", value=value, sampler=sampler)
    store = prepared(name, locations)
    return draw_task(store, split="default", fold=0, label_budget=budget, selection="validation_full", subset_seed=seed)


def trained(drawn: Task, names: list[str]) -> set[str]:
    return {name for name, labels in zip(names, drawn.train_labels, strict=True) if (labels >= 0).any()}


def test_whole_images_are_the_prefix_of_the_seeded_permutation(root: DataLocations) -> None:
    store = prepared("hsi_drive", root)
    names = [image.name for image in store.images]
    train = sorted(store.folds[0].train)
    order = torch.randperm(len(train), generator=torch.Generator().manual_seed(42)).tolist()
    before: set[str] = set()
    for fraction in (0.1, 0.3, 0.5, 1.0):
        chosen = trained(task(root, "hsi_drive", fraction), names)
        count = max(1, round(fraction * len(train)))
        assert chosen == {train[index] for index in order[:count]}
        assert count == images_of_budget(
            store.facts, LabelBudget(kind="fraction", value=fraction, sampler="whole_images")
        )
        assert before <= chosen
        before = chosen


def test_whole_images_leave_validation_and_test_untouched(root: DataLocations) -> None:
    few, all_of_them = task(root, "hyko2", 0.1), task(root, "hyko2", 1.0)
    for part in ("validation_labels", "test_labels"):
        assert all(np.array_equal(a, b) for a, b in zip(getattr(few, part), getattr(all_of_them, part), strict=True))


def test_a_budget_of_whole_images_takes_no_memory_for_the_pixels_of_the_set(root: DataLocations) -> None:
    store, budget = prepared("hsi_drive", root), LabelBudget(kind="fraction", value=0.5, sampler="whole_images")
    drawn = draw_task(
        store, split="default", fold=0, label_budget=budget, selection="validation_matched", subset_seed=0
    )
    maps = ("train_labels", "validation_labels", "test_labels", "train_visible")
    for name in maps:
        for image, found in zip(store.images, getattr(drawn, name), strict=True):
            assert found.strides == (0, 0) or np.shares_memory(found, image.labels_HW), name


def test_published_sizes_of_the_budgets() -> None:
    def sizes(name: str) -> list[int]:
        budgets = [LabelBudget(kind="fraction", value=v, sampler="whole_images") for v in (0.01, 0.05, 0.1, 0.25, 0.5)]
        return [images_of_budget(get_facts(name), budget) for budget in budgets]

    assert sizes("hyko2") == [1, 4, 8, 20, 40]
    assert sizes("hsi_drive") == [5, 23, 45, 113, 226]
    assert sizes("hcv2") == [9, 47, 95, 237, 474]


def test_only_whole_images_have_a_new_version() -> None:
    assert implementation_of("whole_images")["sampler"] == 2
    assert implementation_of("stratified_pixels") == dict(IMPLEMENTATION)


def test_the_audit_tells_neighbours(root: DataLocations) -> None:
    store = prepared("hsi_drive", root)
    report = audit(store, task(root, "hsi_drive", 1.0), 1)
    assert [one["tested"] for one in report.to_json()["near_images"]] == [2, 2, 2]


# --- the store --------------------------------------------------------------------------------------------------------


def test_a_cube_of_scores_is_indexed_like_an_array() -> None:
    generator = np.random.default_rng(0)
    cube = LowRankCube(*(generator.normal(size=shape).astype(np.float32) for shape in ((7, 9, 3), (3, 5), (5,))))
    whole = np.asarray(cube)
    mask = generator.random((7, 9)) < 0.3
    rows, columns = np.array([0, 3, 6]), np.array([8, 1, 1])
    keys = [
        2, slice(1, 4), (slice(1, 4), slice(2, 9, 2)), (3, 4), (rows, columns), (rows, columns, 2), mask, (mask, 1),
        (slice(None), slice(None), 3), (Ellipsis, slice(1, 3)), (Ellipsis, [4, 0]), (2, Ellipsis), (0, 0, 0),
        (slice(None), slice(None), np.array([1, 1])), (rows[:, None], columns[None], slice(0, 2)),
    ]  # fmt: skip
    for key in keys:
        assert np.allclose(cube[key], whole[key], atol=1e-5), key
        assert np.shape(cube[key]) == np.shape(whole[key]), key
    assert (cube.shape, cube.ndim, cube.dtype, len(cube)) == (whole.shape, 3, whole.dtype, 7)
    with pytest.raises(IndexError):
        cube[0, 0, 0, 0]


@pytest.mark.parametrize("name", ["hyko2", "hsi_drive", "hcv2"])
def test_statistics_from_the_moments_are_those_of_the_pixels(root: DataLocations, name: str) -> None:
    store, drawn = prepared(name, root), task(root, name, 1.0)
    found = band_statistics(store, drawn, "train")
    chosen = [np.asarray(image.cube_HWC)[seen] for image, seen in zip(store.images, drawn.train_visible, strict=True)]
    spectra = np.concatenate(chosen).astype(np.float64)
    assert np.allclose(found.mean_C, spectra.mean(axis=0), rtol=1e-5)
    assert np.allclose(found.std_C, spectra.std(axis=0), rtol=1e-4)
    assert np.allclose(found.minimum_C, spectra.min(axis=0), atol=1e-5)
    assert np.allclose(found.maximum_C, spectra.max(axis=0), atol=1e-5)


def test_an_interrupted_preparation_goes_on_with_what_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locations = generated(tmp_path, "hsi_drive", images=6)
    read = _building._read
    seen: list[str] = []

    def reading(definition: object, source: object) -> object:
        if len(seen) == 3:
            raise KeyboardInterrupt
        seen.append(source.name)  # type: ignore[attr-defined]
        return read(definition, source)  # type: ignore[arg-type]

    monkeypatch.setattr(_building, "_read", reading)
    with pytest.raises(KeyboardInterrupt):
        prepare("hsi_drive", locations)
    first = list(seen)
    changed = tmp_path / "proximal/hsi_drive/Image_dataset/labels" / f"{first[0]}.png"
    os.utime(changed, ns=(1, 1))
    seen.clear()
    seen_again: list[str] = []

    def counting(definition: object, source: object) -> object:
        seen_again.append(source.name)  # type: ignore[attr-defined]
        return read(definition, source)  # type: ignore[arg-type]

    monkeypatch.setattr(_building, "_read", counting)
    store = prepared("hsi_drive", locations)
    assert first[0] in seen_again
    assert not set(first[1:]) & set(seen_again)
    monkeypatch.setattr(_building, "_read", read)
    assert prepared("hsi_drive", DataLocations(data_root=tmp_path, cache=tmp_path / "other")).digest == store.digest
    assert not list((tmp_path / "cache" / "prepared").glob(".building-*"))
    assert not list(store.path.glob("*.json.tmp")) + list(store.path.glob("image_*.json"))


@pytest.mark.parametrize("broken_off", ["at the last image", "at the rename"])
def test_what_was_prepared_is_kept_however_long_ago_and_however_late_it_was_broken_off(
    broken_off: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    locations = generated(tmp_path, "hsi_drive", images=6)
    read, rename = _building._read, Path.rename
    seen: list[str] = []

    def reading(definition: object, source: object) -> object:
        if len(seen) == 5 and broken_off == "at the last image":
            raise KeyboardInterrupt
        seen.append(source.name)  # type: ignore[attr-defined]
        return read(definition, source)  # type: ignore[arg-type]

    def renaming(self: Path, target: Path) -> Path:
        if self.name.startswith(".building-"):
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(_building, "_read", reading)
    monkeypatch.setattr(Path, "rename", renaming)
    with pytest.raises(KeyboardInterrupt):
        prepare("hsi_drive", locations)
    monkeypatch.setattr(Path, "rename", rename)
    (building,) = locations.prepared.glob(".building-*")
    os.utime(building, (1, 1))
    first = set(seen)
    seen.clear()
    broken_off = "never"
    store = prepared("hsi_drive", locations)
    assert not first & set(seen)
    assert len(first | set(seen)) == len(store.images) == 6
    assert not list(store.path.glob("image_*.json"))


# --- getting the data -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["hyko2", "hsi_drive", "hcv2", "hcv2_2024", "hsi_drive_legacy_linspace"])
def test_absent_data_say_where_to_ask(tmp_path: Path, name: str) -> None:
    found = status(name, DataLocations(data_root=tmp_path, cache=tmp_path / "cache"))
    assert not found.files_present
    assert found.facts.labels == "human"
    assert "https://" in found.remedy
    assert "proximal/" in found.remedy
    assert "not stated" in found.facts.licence
    assert any("Not yet validated" in note for note in found.facts.notes)


def zipped(members: dict[str, bytes], *, aes: bool = False) -> bytes:
    buffer = io.BytesIO()
    if aes:
        with pyzipper.AESZipFile(buffer, "w", encryption=pyzipper.WZ_AES) as archive:
            archive.setpassword(PASSWORD.encode())
            for name, content in members.items():
                archive.writestr(name, content)
    else:
        with zipfile.ZipFile(buffer, "w") as plain:
            for name, content in members.items():
                plain.writestr(name, content)
    return buffer.getvalue()


def seven_zipped(members: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with py7zr.SevenZipFile(buffer, "w", password=PASSWORD) as archive:
        for name, content in members.items():
            archive.writestr(content, name)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["plain zip", "zip with AES", "7z"])
def test_archives_are_unpacked_with_their_password(tmp_path: Path, kind: str) -> None:
    members = {"Image_dataset/labels/a.png": b"label" * 100, "Image_dataset/b.mat": b"cube"}
    content = seven_zipped(members) if kind == "7z" else zipped(members, aes=kind == "zip with AES")
    (tmp_path / "archive.zip").write_bytes(content)
    if kind != "plain zip":
        for wrong in ("", "wrong"):
            with pytest.raises(DataError, match="password") as caught:
                unpack(tmp_path / "archive.zip", tmp_path / "to", wrong)
            assert "wrong:" not in str(caught.value)
            assert not (tmp_path / "to").exists()
    unpack(tmp_path / "archive.zip", tmp_path / "to", PASSWORD)
    assert {str(f.relative_to(tmp_path / "to")): f.read_bytes() for f in (tmp_path / "to").rglob("*.*")} == members
    with pytest.raises(DataError, match="holds files already"):
        unpack(tmp_path / "archive.zip", tmp_path / "to", PASSWORD)


@pytest.mark.parametrize("name", ["../evil.txt", "/tmp/hsfm_evil.txt", "a/../../evil.txt", "..\\evil.txt"])
def test_no_archive_leaves_its_folder(tmp_path: Path, name: str) -> None:
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "archive.zip").write_bytes(zipped({"good.txt": b"x", name: b"evil"}))
    with pytest.raises(DataError, match="would leave its folder"):
        unpack(tmp_path / "in" / "archive.zip", tmp_path / "in" / "to")
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["archive.zip", "in"]
    assert not Path("/tmp/hsfm_evil.txt").exists()


def test_damaged_archives_are_told(tmp_path: Path) -> None:
    (tmp_path / "archive.zip").write_bytes(b"no archive")
    with pytest.raises(DataError, match="is no zip or 7z file"):
        unpack(tmp_path / "archive.zip", tmp_path / "to")


def test_hsi_drive_takes_its_password_from_the_environment_and_keeps_it_nowhere(
    server: Server,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    lists: Path,
) -> None:
    locations = DataLocations(data_root=None, cache=tmp_path / "cache")
    for side in ("train", "val", "test"):
        content = (lists / f"hsidrive_{side}.csv").read_bytes()
        server.files[f"hs3bench_splits/hsidrive_{side}.csv"] = content
    names = [n for side in server.files.values() for n in side.decode().split()]
    members = {f"HSI/Image_dataset/cubes_fl32/{name}_TC.mat": b"cube" for name in names}
    members |= {f"HSI/Image_dataset/labels/{name}.png": b"label" for name in names}
    server.files["HSI_Drive_v2_0.zip"] = zipped(members)
    monkeypatch.delenv("HSFM_HSI_DRIVE_PASSWORD", raising=False)
    with pytest.raises(DataError, match="HSFM_HSI_DRIVE_PASSWORD is not set; Ask gded@ehu.eus"):
        fetch("hsi_drive", locations, base_url=server.url)
    monkeypatch.setenv("HSFM_HSI_DRIVE_PASSWORD", PASSWORD)
    folder = fetch("hsi_drive", locations, base_url=server.url)
    assert folder == tmp_path / "cache" / "data" / "proximal" / "hsi_drive"
    assert status("hsi_drive", locations).files_present
    assert status("hsi_drive", locations).facts.labels == "human"
    kept = [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix not in (".mat", ".png")]
    assert all(PASSWORD.encode() not in path.read_bytes() for path in kept)


def test_a_set_without_an_address_says_how_to_get_it(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="cannot be fetched by a command; Get train/V2_train_image.rar"):
        fetch("hcv2", DataLocations(data_root=None, cache=tmp_path))


# --- cubes without labels ---------------------------------------------------------------------------------------------


def test_ximea_frames_become_cubes_of_hsi_drive_and_train_nothing(tmp_path: Path) -> None:
    data_root = Path(os.environ.get("HSFM_DATA_ROOT", "/nonexistent"))
    if not (data_root / "proximal" / "ximea_nir25").is_dir():
        pytest.skip("needs the frames: set HSFM_DATA_ROOT")
    from PIL import Image

    locations = DataLocations(data_root=data_root, cache=tmp_path)
    store = prepared("ximea_nir25", locations)
    assert [image.cube_HWC.shape for image in store.images] == [(216, 409, 25)] * 4
    raw = np.asarray(Image.open(data_root / "proximal/ximea_nir25" / f"{store.images[1].name}.png"))
    for band in (0, 7, 24):
        row, column = divmod(band, 5)
        assert np.array_equal(store.images[1].cube_HWC[:, :, band], raw[3 + row : 1083 : 5, column:2045:5])
    ours, theirs = (np.array(get_facts(name).wavelengths_nm) for name in ("ximea_nir25", "hsi_drive"))
    assert (np.abs(ours - theirs) <= 6).sum() == 24
    budget = LabelBudget(kind="fraction", value=1, sampler="stratified_pixels")
    with pytest.raises(ConfigError, match="has no labels: it can be predicted on"):
        draw_task(store, split="default", fold=0, label_budget=budget, selection="none", subset_seed=0)
    files = write_cubes(store, tmp_path / "cubes")
    cube = np.load(files[0])
    assert (cube.shape, cube.dtype) == ((216, 409, 25), np.float32)
    assert cube.max() <= 1
    picture = np.asarray(Image.open(files[0].with_suffix(".png")))
    assert picture.shape == (216, 409, 3)
    assert picture.std() > 10
    with pytest.raises(DataError, match="is there already"):
        write_cubes(store, tmp_path / "cubes")


def test_false_colours_follow_wavelengths_whatever_their_order() -> None:
    centres = (640.0, 460.0, 550.0, 900.0)
    assert three_bands(4, centres) == (0, 2, 1)
    red, green, blue = three_bands(25, get_facts("hsi_drive").wavelengths_nm)
    nm = get_facts("hsi_drive").wavelengths_nm or ()
    assert nm[red] > nm[green] > nm[blue]
    assert false_colour(np.zeros((4, 5, 4)), (0, 1, 2)).shape == (4, 5, 3)
