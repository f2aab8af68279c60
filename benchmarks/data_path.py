"""Images a second and bytes on disk: the prepared store against the read of the HS3-Bench code, on generated files.

    python benchmarks/data_path.py [--images 6] [--repeats 5] [--folder FOLDER] [--write]

Files are generated in the true sizes. `hdf5` reads as the reference code does for every image: open the file, copy
image and labels out. `original` reads the original files with scipy and Pillow. `store` is ours, mapped once and kept.
Each comes in three forms, and every value is touched once (the largest is looked for):

array          as the file has it
channels last  float32 for a network that takes its channels last in memory
bands first    float32 with bands first in one piece of memory: the cube is turned round

Cold: the page cache of the files is dropped before each pass (posix_fadvise), which a virtual disk may answer from its
host's cache. Two workers are two processes that read all images each.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import shutil
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import torch
from PIL import Image
from scipy.io import loadmat

from orchestrator.datasets._hsd import halved, read_hsd
from orchestrator.datasets.hyko2 import LABELS_KEY
from orchestrator.datasets.imitate import FOLDERS, TRUE_PX, imitate
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import prepare
from orchestrator.datasets.store import PreparedDataset, open_prepared

NAMES = ("hyko2", "hsi_drive", "hcv2")
REAL_IMAGES = {"hyko2": 162, "hsi_drive": 752, "hcv2": 1330}
GIB = 2**30
ROOT = Path(__file__).resolve().parent.parent
DOCUMENT = ROOT / "docs" / "data-path.md"
FORMS = ("array", "channels last", "bands first")
SOURCES = ("hdf5", "original", "store")
COLUMNS = ("warm/s", "2 workers", "cold/s", "2 workers")
Read = Callable[[int], tuple[Any, Any]]
Shape = Callable[[Any], Any]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--images", type=int, default=6)
    parser.add_argument("--repeats", type=int, default=5, help="passes over the images; the median counts")
    parser.add_argument("--folder", type=Path, default=None, help="where files go; default: a temporary folder")
    parser.add_argument("--datasets", nargs="+", default=list(NAMES), choices=NAMES)
    parser.add_argument("--write", action="store_true", help=f"put the figures into {DOCUMENT.relative_to(ROOT)}")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    folder = Path(tempfile.mkdtemp(prefix="data_path-", dir=arguments.folder))
    told = [
        f"{arguments.images} generated images of each set, median of {arguments.repeats} passes; images a second.",
        "",
        f"| set | read | form | MB an image | {' | '.join(COLUMNS)} | warm, times HDF5 |",
        f"|---|---|---|---:|{'---:|' * (len(COLUMNS) + 1)}",
    ]
    said = []
    print("\n".join(told), flush=True)
    try:
        for name in arguments.datasets:
            rows, sentence = _one(name, folder / name, arguments.images, arguments.repeats)
            told += rows
            said.append(sentence)
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    told += ["", *(f"- {sentence}" for sentence in said)]
    print("\n".join(["", *said]))
    if arguments.write:
        sys.path.insert(0, str(ROOT))
        from benchmarks.measured import write_measured

        write_measured(DOCUMENT, "\n".join(told))


def _one(name: str, folder: Path, images: int, repeats: int) -> tuple[list[str], str]:
    """Lines of the table for one set, and a sentence on its size."""
    imitate(name, folder, images=images, size_px=TRUE_PX[name], rank=10)
    started = time.perf_counter()
    store_path = prepare(name, DataLocations(data_root=folder, cache=folder / "cache"))
    preparing_s = time.perf_counter() - started
    store = open_prepared(store_path)
    hdf5 = folder / "reference.h5"
    with h5py.File(hdf5, "w") as file:
        for image in store.images:
            group = file.create_group(image.name)
            group["image"] = np.asarray(image.cube_HWC)
            group["labels"] = np.asarray(image.labels_HW, dtype=np.uint8)
    originals = _originals(name, folder / FOLDERS[name])
    files_of = {
        "hdf5": [hdf5],
        "original": [file for pair in originals.values() for file in set(pair)],
        "store": sorted(store_path.glob("*.arrow")),
    }
    warm, rows = {}, []
    for form in FORMS:
        for source in SOURCES:
            files = files_of[source]
            size_mb = sum(file.stat().st_size for file in files) / images / 1e6
            rates = []
            for cold in (False, True):
                for workers in (1, 2):
                    seconds = [_pass(name, folder, source, form, files, workers, cold) for _ in range(repeats)]
                    rates.append(images * workers / float(np.median(seconds)))
            warm[source] = rates[0]
            numbers = [f"{number:.1f}" for number in (size_mb, *rates, rates[0] / warm["hdf5"])]
            rows.append(f"| {' | '.join([name, source, form, *numbers])} |")
            print(rows[-1], flush=True)
    return rows, f"{name}: {_sizes(name, store)}; prepared at {images / preparing_s:.1f} images a second."


def _sizes(name: str, store: PreparedDataset) -> str:
    """Bytes of the whole real set in our store; for HCV2 as a formula of the rank, which is not known yet."""
    height, width, bands = store.images[0].cube_HWC.shape
    pixels, number = height * width, REAL_IMAGES[name]
    if name != "hcv2":
        size = store.images[0].cube_HWC.dtype.itemsize
        return f"the whole set is {number * pixels * (bands * size + 3) / GIB:.1f} GiB in our store"
    dense = number * pixels * (bands * 4 + 1) / GIB
    for_rank = [f"D = {rank}: {number * pixels * (4 * rank + 3) / GIB:.0f} GiB" for rank in (5, 10, 20)]
    return (
        f"the whole set is {number} x {pixels} px x (4 D + 3) bytes = {number * pixels / GIB:.3f} x (4 D + 3) GiB "
        f"({', '.join(for_rank)}) in our store, {dense:.0f} GiB in HDF5"
    )


def _originals(name: str, base: Path) -> dict[str, tuple[Path, Path]]:
    """Cube and label file by image name."""
    if name == "hyko2":
        return {file.stem: (file, file) for file in sorted(base.glob("*.mat"))}
    if name == "hsi_drive":
        images = base / "Image_dataset"
        return {
            file.stem.removesuffix("_TC"): (file, images / "labels" / f"{file.stem.removesuffix('_TC')}.png")
            for file in sorted((images / "cubes_fl32").glob("*.mat"))
        }
    return {file.stem: (file, file.parent / "gt" / f"rgb{file.stem}_gray.png") for file in sorted(base.glob("*/*.hsd"))}


def _reader(name: str, folder: Path, source: str, form: str) -> tuple[Read, int]:
    """A function that reads the image of a number, made in the process that calls it."""
    shape = SHAPES[form]
    if source == "hdf5":
        file = folder / "reference.h5"
        with h5py.File(file) as opened:
            keys = sorted(opened)
        return lambda index: _read_hdf5(file, keys[index], shape), len(keys)
    if source == "original":
        pairs = list(_originals(name, folder / FOLDERS[name]).values())
        pairs = [pair for pair in pairs if name != "hyko2" or LABELS_KEY in loadmat(pair[0])]
        return lambda index: _read_original(name, *pairs[index], form), len(pairs)
    images = open_prepared(prepare(name, DataLocations(data_root=folder, cache=folder / "cache"))).images
    return lambda index: (shape(images[index].cube_HWC), images[index].labels_HW), len(images)


def _read_hdf5(file: Path, key: str, shape: Shape) -> tuple[Any, Any]:
    with h5py.File(file, "r") as opened:
        group = opened[key]
        return shape(np.array(group["image"])), np.array(group["labels"], dtype=np.int64)


def _read_original(name: str, cube_file: Path, labels_file: Path, form: str) -> tuple[Any, Any]:
    shape = SHAPES[form]
    if name == "hcv2":
        cube = halved(np.asarray(read_hsd(cube_file)))
        return shape(cube), halved(np.asarray(Image.open(labels_file))).astype(np.int64)
    found = loadmat(cube_file)
    if name == "hyko2":
        return shape(found["data"]), found[LABELS_KEY].astype(np.int64)
    # Bands come first in these files: this time the other form needs the cube turned round.
    cube, labels = found["cube"], np.asarray(Image.open(labels_file)).astype(np.int64)
    return (cube if form != "channels last" else shape(np.ascontiguousarray(cube.transpose(1, 2, 0)))), labels


def _as_it_is(cube_HWC: Any) -> Any:
    return np.asarray(cube_HWC)


def _channels_last(cube_HWC: Any) -> Any:
    x_BCHW = torch.from_numpy(np.asarray(cube_HWC, dtype=np.float32)).permute(2, 0, 1)[None]
    return x_BCHW.permute(0, 2, 3, 1)  # in the order of memory, for whoever goes through it


def _bands_first(cube_HWC: Any) -> Any:
    return np.ascontiguousarray(np.asarray(cube_HWC).transpose(2, 0, 1), dtype=np.float32)


SHAPES: dict[str, Shape] = {"array": _as_it_is, "channels last": _channels_last, "bands first": _bands_first}


def _pass(name: str, folder: Path, source: str, form: str, files: list[Path], workers: int, cold: bool) -> float:
    """Seconds of a pass over all images by every worker at once; opening the store is not in it, opening files is."""
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(workers), context.SimpleQueue()

    def work() -> None:
        read, count = _reader(name, folder, source, form)
        if cold:
            _drop(files)
        else:
            _touch(read, count)
        barrier.wait()
        started = time.perf_counter()
        _touch(read, count)
        results.put(time.perf_counter() - started)

    processes = [context.Process(target=work) for _ in range(workers)]
    for process in processes:
        process.start()
    seconds = [results.get() for _ in processes]
    for process in processes:
        process.join()
    return max(seconds)


def _touch(read: Read, count: int) -> None:
    """Every value of cube and labels goes through the processor once, with as little arithmetic as there is."""
    for index in range(count):
        cube, labels = read(index)
        float(cube.max())
        int(labels.max())


def _drop(files: list[Path]) -> None:
    """Forget the files' pages: those that are mapped or dirty stay."""
    os.sync()
    for file in files:
        handle = os.open(file, os.O_RDONLY)
        try:
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
        finally:
            os.close(handle)


if __name__ == "__main__":
    main()
