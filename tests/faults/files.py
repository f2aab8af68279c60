"""Faults of files: a checkpoint cut off, a cube damaged, a prepared store damaged."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import numpy as np
import yaml

from orchestrator.datasets import indian_pines
from tests.faults.fault import Fault
from tests.faults.rig import NAME, Rig, RigError
from tests.faults.rows import Row


def _kill_and_cut_checkpoint(rig: Rig) -> None:
    """Cut off the newest checkpoint of every unfinished run; what it held has to be trained again."""
    assert rig.process is not None
    rig.process.send_signal(signal.SIGKILL)
    rig.process.wait()
    for worker in rig.processes("RayTrainWorker"):  # an orphan would write another one
        worker.kill()
    cut = 0
    for file in (rig.out / NAME / "checkpoints").glob("*/attempt-*/last.pt"):
        os.truncate(file, file.stat().st_size // 2)
        rig.spoiled.add((file.parent.parent.name, int(file.parent.name.removeprefix("attempt-"))))
        cut += 1
    if not cut:
        raise RigError("no checkpoint was there to be cut off")
    rig.noted.append(f"Checkpoints cut to half of their size: {cut}. They count as never written.")


def _user_scene(rig: Rig) -> Path:
    """The scene once more, as a user's own data set in a folder of its own."""
    source, folder = indian_pines.locate(), rig.folder / "scene"
    assert source is not None
    folder.mkdir()
    shutil.copy(source / indian_pines.CUBE.path, folder / "cube.npy")
    shutil.copy(source / indian_pines.LABELS.path, folder / "labels.npy")
    facts = indian_pines.FACTS
    settings = {
        "name": "my_scene",
        "domain": "remote",
        "sensor": facts.sensor,
        "quantity": "raw",
        "bands": facts.num_bands,
        "image_size_px": list(facts.image_size_px),
        "classes": dict(zip(facts.class_ids, facts.class_names, strict=True)),
        "images": [{"cube": "cube.npy", "labels": "labels.npy"}],
    }
    (folder / "dataset.yaml").write_text(yaml.safe_dump(settings))
    return folder


def _damage_cube(rig: Rig) -> None:
    """Half of the cube's file is gone; the grid asks for one strategy on it beside the usual cells."""
    _own_cache(rig)
    folder = _user_scene(rig)
    os.truncate(folder / "cube.npy", (folder / "cube.npy").stat().st_size // 2)
    block = f"{{strategies: [in_domain/spectral_cnn], datasets: [{folder / 'dataset.yaml'}], label_budgets: [0.1]}}"
    rig.grid.write_text(rig.grid.read_text() + f"blocks: [{block}]\n")


def _mend_cube(rig: Rig) -> None:
    source = indian_pines.locate()
    assert source is not None
    shutil.copy(source / indian_pines.CUBE.path, rig.folder / "scene" / "cube.npy")


def _is_done_on_it(rig: Rig, row: Row) -> None:
    mine = [slot for name, slot in rig.slots().items() if "dataset.yaml" in name or "my_scene" in name]
    row.notes.append(f"Closed slots on the mended data set in the end: {sum(slot.is_closed for slot in mine)}.")
    if not any(slot.state == "finished" for slot in mine):
        row.problems.append("the cell of the mended data set was not run")


def _own_cache(rig: Rig) -> Path:
    """A copy of the prepared data, so that no other sweep's are damaged; the file of the scene in it."""
    shutil.copytree(rig.cache, rig.folder / "cache")
    rig.cache = rig.folder / "cache"
    return _prepared_file(rig)


def _prepared_file(rig: Rig) -> Path:
    """The scene's Arrow file that the undisturbed sweep trained on: the newest, where its data changed meanwhile."""
    files = rig.cache.glob(f"prepared/{indian_pines.FACTS.name}-*/image_*.arrow")
    return max(files, key=lambda file: file.stat().st_mtime)


def _cut_store(rig: Rig) -> None:
    file = _own_cache(rig)
    os.truncate(file, file.stat().st_size // 2)


def _cut_store_later(rig: Rig) -> None:
    """A resident worker has the file mapped: its group has to come back to see the damage."""
    file = _prepared_file(rig)
    os.truncate(file, file.stat().st_size // 2)


def _flip_store(rig: Rig) -> None:
    """Same size, other numbers: a tenth of the cube's bytes."""
    file = _own_cache(rig)
    content = np.memmap(file, dtype=np.uint8, mode="r+")
    start = len(content) // 2
    content[start : start + len(content) // 10] ^= 0x55
    content.flush()


def _tell_notes(rig: Rig, row: Row) -> None:
    row.notes += rig.noted


FAULTS = (
    Fault(
        name="checkpoint-truncated",
        title="checkpoint truncated",
        how="SIGKILL of the command in the middle of a run, then every last.pt is cut to half of its size",
        told=r"last\.pt|checkpoint .*(read|damaged|cut|passed)",
        strike=_kill_and_cut_checkpoint,
        with_checkpoint=True,
        ends=(-signal.SIGKILL,),
        check=_tell_notes,
    ),
    Fault(
        name="cube-corrupt",
        title="corrupt cube",
        how="a user's own data set whose .npy cube lost half of its bytes, beside three healthy ones; later mended",
        told=r"blocked: .*(damaged|cannot read)",
        prepare=_damage_cube,
        mend=_mend_cube,
        ends=(1,),
        check=_is_done_on_it,
    ),
    Fault(
        name="store-cut",
        title="prepared store cut off before a start",
        how="the prepared Arrow file of the scene loses half of its bytes before the sweep starts",
        told=r"prepared .* damaged",
        prepare=_cut_store,
    ),
    Fault(
        name="store-cut-later",
        title="prepared store cut off during a sweep",
        how="the prepared Arrow file that the workers have mapped loses half of its bytes in the middle of a run",
        told=r"prepared .* (bytes|damaged)",
        prepare=lambda rig: None if _own_cache(rig) else None,
        strike=_cut_store_later,
        ends_workers=True,
        ends=(0, 1),
    ),
    Fault(
        name="store-flipped",
        title="prepared store changed, same size",
        how="a tenth of the bytes of the prepared Arrow file are changed before the sweep starts, its size is not",
        told=r"prepared .* damaged",
        prepare=_flip_store,
        ends=(0, 1),
    ),
)
