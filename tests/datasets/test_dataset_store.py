"""The prepared store: one map that all views share, written once, whole or not at all."""

from __future__ import annotations

import json
import multiprocessing
import os
from pathlib import Path

import numpy as np
import pytest
from made_data import made_scene, write_yaml

from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.registry import get_facts
from orchestrator.datasets.store import PreparedDataset, open_prepared
from orchestrator.errors import DataError


def _prepare(name: str, cache: Path) -> str:
    return str(prepare(name, DataLocations(data_root=None, cache=cache)))


def test_arrays_are_read_only_views_of_the_mapped_file(indian_pines: PreparedDataset) -> None:
    image = indian_pines.images[0]
    for array in (image.cube_HWC, image.labels_HW, image.valid_HW):
        assert not array.flags.writeable
        assert not array.flags.owndata
        with pytest.raises(ValueError, match="read-only"):
            array[0, 0] = 0
    maps = Path("/proc/self/maps").read_text().splitlines()
    spans = [line.split()[0].split("-") for line in maps if "image_00000.arrow" in line]
    address = image.cube_HWC.__array_interface__["data"][0]
    assert any(int(first, 16) <= address < int(end, 16) for first, end in spans)


def test_the_cube_is_the_original_in_its_own_type(indian_pines: PreparedDataset) -> None:
    image = indian_pines.images[0]
    from orchestrator.datasets import indian_pines as module

    folder = module.locate()
    assert folder is not None
    original = np.load(folder / module.CUBE.path)
    assert image.cube_HWC.dtype == np.uint16
    assert np.array_equal(image.cube_HWC, original)
    assert image.labels_HW.dtype == np.int16
    assert np.array_equal(image.labels_HW, np.load(folder / module.LABELS.path).astype(np.int16) - 1)


def test_facts_come_back_from_the_manifest(indian_pines: PreparedDataset) -> None:
    assert indian_pines.facts == get_facts("indian_pines")


def test_preparing_twice_changes_nothing(scene_folder: Path, locations: DataLocations) -> None:
    name = str(scene_folder / "dataset.yaml")
    path = prepare(name, locations)
    before = {file.name: file.stat().st_mtime_ns for file in path.iterdir()}
    assert prepare(name, locations) == path
    assert {file.name: file.stat().st_mtime_ns for file in path.iterdir()} == before


def test_two_processes_at_once_prepare_one_whole_store(scene_folder: Path, tmp_path: Path) -> None:
    name = str(scene_folder / "dataset.yaml")
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        paths = pool.starmap(_prepare, [(name, tmp_path / "cache")] * 2)
    assert paths[0] == paths[1]
    open_prepared(Path(paths[0]))
    assert [path.name for path in (tmp_path / "cache" / "prepared").iterdir() if path.is_dir()] == [Path(paths[0]).name]


def test_the_digest_is_the_same_in_another_process_and_place(
    scene_folder: Path, locations: DataLocations, tmp_path: Path
) -> None:
    name = str(scene_folder / "dataset.yaml")
    here = open_prepared(prepare(name, locations)).digest
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        there = pool.apply(_prepare, (name, tmp_path / "elsewhere"))
    assert open_prepared(Path(there)).digest == here


def test_another_label_is_another_digest(scene_folder: Path, locations: DataLocations) -> None:
    name = str(scene_folder / "dataset.yaml")
    before = open_prepared(prepare(name, locations)).digest
    _, labels = made_scene()
    labels[0, 0] = labels[0, 0] % 3 + 1
    np.save(scene_folder / "labels.npy", labels)
    assert open_prepared(prepare(name, locations)).digest != before


def test_a_new_title_keeps_the_digest(scene_folder: Path, locations: DataLocations) -> None:
    before = open_prepared(prepare(str(scene_folder / "dataset.yaml"), locations)).digest
    write_yaml(scene_folder, title="another title", licence="CC0")
    assert open_prepared(prepare(str(scene_folder / "dataset.yaml"), locations)).digest == before


def test_a_store_that_was_cut_short_is_named_and_made_anew(scene_folder: Path, locations: DataLocations) -> None:
    name = str(scene_folder / "dataset.yaml")
    path = prepare(name, locations)
    image = path / "image_00000.arrow"
    size = image.stat().st_size
    with image.open("r+b") as file:
        file.truncate(size // 2)
    with pytest.raises(DataError, match=rf"image_00000.arrow has {size // 2} bytes, {size} were written.*data prepare"):
        open_prepared(path)
    assert prepare(name, locations) == path
    open_prepared(path)


def test_a_build_that_failed_leaves_nothing_behind(scene_folder: Path, locations: DataLocations) -> None:
    def fail(what: str, done: int, total: int | None) -> None:
        if what.startswith("writing"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prepare(str(scene_folder / "dataset.yaml"), locations, progress=fail)
    assert [path for path in locations.prepared.iterdir() if path.is_dir()] == []


def test_a_manifest_of_another_format_is_not_opened(scene_folder: Path, locations: DataLocations) -> None:
    path = prepare(str(scene_folder / "dataset.yaml"), locations)
    manifest = json.loads((path / "manifest.json").read_text())
    (path / "manifest.json").write_text(json.dumps({**manifest, "format_version": 0}))
    with pytest.raises(DataError, match="holds no prepared data set"):
        open_prepared(path)


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_cache_that_cannot_be_written_is_named(scene_folder: Path, tmp_path: Path) -> None:
    locked = tmp_path / "locked"
    locked.mkdir(mode=0o500)
    with pytest.raises(DataError, match="set HSFM_CACHE"):
        prepare(str(scene_folder / "dataset.yaml"), DataLocations(data_root=None, cache=locked))


def test_a_cache_below_a_file_is_named(scene_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match="set HSFM_CACHE"):
        prepare(str(scene_folder / "dataset.yaml"), DataLocations(data_root=None, cache=tmp_path / "file"))


def test_a_prepared_file_that_a_disk_has_changed_is_made_again(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    from orchestrator.datasets import prepare as preparing

    locations = DataLocations(data_root=None, cache=tmp_path)
    folder = preparing.prepare("indian_pines", locations)
    file = next(folder.glob("image_*.arrow"))
    written = file.read_bytes()
    middle = len(written) // 2
    file.chmod(0o644)
    file.write_bytes(written[:middle] + bytes([written[middle] ^ 255]) + written[middle + 1 :])
    preparing._changed.cache_clear()  # as in the next process
    assert preparing.prepare("indian_pines", locations) == folder
    assert next(folder.glob("image_*.arrow")).read_bytes() == written
    assert "damaged" in caplog.text
