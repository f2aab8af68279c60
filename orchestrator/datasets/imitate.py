"""Small generated files in the exact original formats of HS3-Bench: for tests, and for trying a grid without the data.

Every class has a spectrum of its own, so that something can be learnt. Nothing of it is real, and a marker file beside
the files says so to every reader.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.datasets import _hcv2, _hsi_drive_facts, hyko2
from orchestrator.datasets._base import Progress
from orchestrator.datasets._hs3_marker import MARKER, SPLITS, read_marker, write_marker
from orchestrator.datasets._hs3_splits import SIDES
from orchestrator.datasets._hsd import half
from orchestrator.datasets._imitated import Scene, hcv2_names, hsi_drive_names, hyko2_names, write_hsd, write_png
from orchestrator.errors import ConfigError, DataError, unknown

SMALL_PX = {"hyko2": (40, 56), "hsi_drive": (36, 52), "hcv2": (75, 101)}
TRUE_PX = {"hyko2": (254, 510), "hsi_drive": (216, 409), "hcv2": (1422, 1889)}
"""Height and width as the files store them."""
SHARES = {"hyko2": (81, 32, 49), "hsi_drive": (451, 150, 151), "hcv2": (949, 105, 276)}
"""Images of the real data sets on each side: the generated ones are shared out alike."""
FOLDERS = {"hyko2": hyko2.FOLDER, "hsi_drive": _hsi_drive_facts.FOLDER, "hcv2": _hcv2.FOLDER}
FEWEST = 3


def imitate(
    name: str,
    to: Path,
    *,
    images: int = 10,
    seed: int = 0,
    size_px: tuple[int, int] | None = None,
    rank: int = 8,
    progress: Progress | None = None,
) -> Path:
    """Write generated files in the format of a data set.

    Args:
        name: hyko2, hsi_drive or hcv2.
        to: a data root: HSFM_DATA_ROOT or --data-root names it afterwards.
        images: how many, 3 or more; a HyKo2 file without labels comes on top.
        seed: fixes all of them.
        size_px: height and width as stored; None = small.
        rank: scores a pixel of .hsd files.
        progress: told of each image.

    Returns:
        The folder of the data set below `to`.

    Raises:
        ConfigError: a data set that cannot be imitated, or too few images.
        DataError: the folder holds files already.
    """
    if name not in FOLDERS:
        raise unknown("dataset to imitate", name, FOLDERS)
    if images < FEWEST:
        raise ConfigError(f"images is {images}; allowed: {FEWEST} or more, one for each side of the split")
    height, width = size_px or SMALL_PX[name]
    if min(height, width) < 8:
        raise ConfigError(f"size {height} x {width} px; allowed: 8 px or more a side")
    folder = to / FOLDERS[name]
    if folder.is_dir() and any(folder.iterdir()):
        kind = "generated" if read_marker(folder) else "other, perhaps real"
        raise DataError(f"{folder} holds {kind} files already; nothing is ever written over them: name another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
        counts = shares_of(images, SHARES[name])
        seen = (half(height), half(width)) if name == "hcv2" else (height, width)
        write_marker(
            folder, dataset=name, seed=seed, images=images, image_size_px=seen, train_images=counts[0], rank=rank
        )
        generator = np.random.default_rng([seed, *name.encode()])
        WRITERS[name](folder, counts, generator, (height, width), rank, progress or (lambda *_: None))
    except OSError as error:
        raise DataError(f"cannot write below {to}: {error}; name a writable folder with room") from error
    return folder


def shares_of(images: int, shares: tuple[int, int, int]) -> tuple[int, int, int]:
    """Images on each side in the proportions of the real ones, at least one each."""
    total = sum(shares)
    validation, test = (max(1, round(images * share / total)) for share in shares[1:])
    train = images - validation - test
    return (train, validation, test) if train > 0 else (images - 2, 1, 1)


def _write_lists(folder: Path, lists: dict[str, list[str]], ending: str = "") -> None:
    folder.mkdir()
    for side, names in lists.items():
        (folder / f"{side}.csv").write_text("".join(f"{name}{ending}\n" for name in names), encoding="utf-8")


def _dealt(names: list[str], counts: tuple[int, int, int], generator: np.random.Generator) -> dict[str, list[str]]:
    order = [names[index] for index in np.argsort(generator.random(len(names)))]
    first, second = counts[0], counts[0] + counts[1]
    return dict(zip(SIDES, (order[:first], order[first:second], order[second:]), strict=True))


def _write_hyko2(folder: Path, counts: Any, generator: Any, size: Any, _: int, progress: Progress) -> None:
    from scipy.io import savemat

    facts = hyko2.FACTS
    names = hyko2_names(sum(counts) + 1, generator)
    bare = names.pop(len(names) // 2)
    scene = Scene(facts.wavelengths_nm or (), facts.class_ids, hyko2.IGNORED_IDS, generator)
    for index, name in enumerate([*names, bare]):
        cube, labels = scene.draw(size)
        keys: dict[str, Any] = {
            "data": cube.astype(np.float64).clip(0, 1),
            "wavelengths": np.array([facts.wavelengths_nm]),
            "image": np.zeros((*size, 3), dtype=np.uint8),
            "stats": np.zeros((1, 4)),
            "id_spectral_reflectances": np.arange(1.0, 4.0)[None],
            "label_spectral_reflectances": np.zeros(size, dtype=np.uint8),
        }
        if name != bare:
            keys["id_Semantic Classes for Urban Scenes"] = np.array([facts.class_ids], dtype=np.uint8)
            keys[hyko2.LABELS_KEY] = labels
        savemat(folder / f"{name}.mat", keys, long_field_names=True)
        progress(f"writing {name}", index + 1, len(names) + 1)
    _write_lists(folder / SPLITS, _dealt(names, counts, generator), ".mat")


def _write_hsi_drive(folder: Path, counts: Any, generator: Any, size: Any, _: int, progress: Progress) -> None:
    from scipy.io import savemat

    facts = _hsi_drive_facts.FACTS
    cubes, pictures = folder / "Image_dataset" / "cubes_fl32", folder / "Image_dataset" / "labels"
    for made in (cubes, cubes / "MF", pictures):
        made.mkdir(parents=True)
    names = hsi_drive_names(sum(counts), generator)
    ids = tuple(sorted((*facts.class_ids, 8)))
    scene = Scene(facts.wavelengths_nm or (), ids, (0,), generator, level=0.12)
    for index, name in enumerate(names):
        cube, labels = scene.draw(size)
        stored = np.ascontiguousarray(cube.transpose(2, 0, 1), dtype=np.float32).clip(0, 4)
        savemat(cubes / f"{name}_TC.mat", {"cube": stored})
        savemat(cubes / "MF" / f"{name}_TC_MF.mat", {"cube": stored[:, :2, :2]})
        write_png(pictures / f"{name}.png", labels)
        progress(f"writing {name}", index + 1, len(names))
    _write_lists(folder / SPLITS, _dealt(names, counts, generator))


def _write_hcv2(folder: Path, counts: Any, generator: Any, size: Any, rank: int, progress: Progress) -> None:
    facts = _hcv2.FACTS
    names = hcv2_names(sum(counts), generator)
    lists = _dealt(names, counts, generator)
    start_nm, step_nm = 450, 4.0
    wavelengths_nm = tuple(start_nm + step_nm * band for band in range(facts.num_bands))
    scene = Scene(wavelengths_nm, facts.class_ids, _hcv2.IGNORED_IDS, generator, offset=-0.2)
    for index, (name, side) in enumerate((name, side) for side, members in lists.items() for name in members):
        place = folder / ("test" if side == "test" else "train")
        (place / "gt").mkdir(parents=True, exist_ok=True)
        mean, coefficients, scores, labels = scene.draw_scores(size, rank)
        write_hsd(place / f"{name}.hsd", mean, coefficients, scores, start_nm, step_nm)
        write_png(place / "gt" / f"rgb{name}_gray.png", labels)
        progress(f"writing {name}", index + 1, len(names))
    _write_lists(folder / SPLITS, lists, ".hsd")
    # The protocols differ in which images of the official train validate: here, the ones after them.
    pool = [*lists["train"], *lists["val"]]
    of_2024 = {"train": pool[counts[1] :], "val": pool[: counts[1]], "test": lists["test"]}
    _write_lists(folder / f"{SPLITS}_2024", of_2024, ".hsd")


WRITERS: dict[str, Callable[..., None]] = {
    "hyko2": _write_hyko2,
    "hsi_drive": _write_hsi_drive,
    "hcv2": _write_hcv2,
}
__all__ = ["MARKER", "imitate", "shares_of"]
