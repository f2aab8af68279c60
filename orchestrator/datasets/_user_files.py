"""The files of a user's own data set: which there are, which side they are on, and how they become images."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.datasets import _fields as fields
from orchestrator.datasets._base import RawImage
from orchestrator.errors import ConfigError, DataError
from orchestrator.plan.facts import DatasetFacts

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from orchestrator.datasets._formats import ArrayFile, Axes

IMAGE_KEYS = ("name", "cube", "labels", "cube_variable", "labels_variable")


@dataclass(frozen=True, kw_only=True)
class UserImage:
    """One cube and its label image; paths are relative to the YAML file."""

    name: str
    cube: str
    labels: str
    cube_variable: str | None = None
    labels_variable: str | None = None

    def paths(self) -> tuple[str, str]:
        return self.cube, self.labels

    def stamps(self, folder: Path) -> tuple[str, ...]:
        """Name, size and time of every file behind the image, the other half of an ENVI pair included."""
        from orchestrator.datasets._formats import halves_of

        stamps = []
        for path in self.paths():
            for half in halves_of(folder / path):
                if half.is_file():
                    state = half.stat()
                    stamps.append(f"{half}:{state.st_size}:{state.st_mtime_ns}")
        return (*stamps, str(self.cube_variable), str(self.labels_variable))


def list_images(where: str, folder: Path, given: Any) -> tuple[UserImage, ...]:
    """Images as listed, or as found by a pattern of cubes and a template of labels.

    Raises:
        ConfigError: neither form, an unknown key, two images of one name, or a pattern that finds nothing.
    """
    if isinstance(given, Mapping):
        images = _by_pattern(where, folder, given)
    elif isinstance(given, list) and given:
        images = [_listed(f"{where}, images[{index}]", item) for index, item in enumerate(given)]
    else:
        raise ConfigError(
            f"{where}: images is {given!r}; expected a list of {{cube: FILE, labels: FILE}} or "
            "{cubes: PATTERN, labels: TEMPLATE with {name}}"
        )
    names = [image.name for image in images]
    if len(set(names)) != len(names):
        twice = next(name for name in names if names.count(name) > 1)
        raise ConfigError(f"{where}: two images are named {twice!r}; give each its own name")
    return tuple(images)


def _listed(where: str, item: Any) -> UserImage:
    image = fields.mapping(where, "an image", item)
    fields.check_keys(where, image, IMAGE_KEYS, ("cube", "labels"))
    values = {key: fields.text(where, key, value) for key, value in image.items() if value is not None}
    return UserImage(**{"name": Path(values["cube"]).stem, **values})


def _by_pattern(where: str, folder: Path, given: Mapping[Any, Any]) -> list[UserImage]:
    keys = ("cubes", "labels", "cube_variable", "labels_variable")
    fields.check_keys(f"{where}, images", given, keys, ("cubes", "labels"))
    template = fields.text(where, "images.labels", given["labels"])
    if "{name}" not in template:
        raise ConfigError(f"{where}: images.labels is {template!r}; expected a path with {{name}} in it")
    pattern = fields.text(where, "images.cubes", given["cubes"])
    if Path(pattern).is_absolute():
        raise ConfigError(f"{where}: images.cubes is {pattern!r}; expected a pattern below the folder of the YAML file")
    found = sorted(folder.glob(pattern))
    if not found:
        raise ConfigError(f"{where}: images.cubes {pattern!r} finds no file below {folder}; correct the pattern")
    variables = {key: given[key] for key in ("cube_variable", "labels_variable") if given.get(key)}
    return [
        UserImage(
            name=file.stem,
            cube=file.relative_to(folder).as_posix(),
            labels=template.replace("{name}", file.stem),
            **variables,
        )
        for file in found
    ]


def split_list(where: str, folder: Path, given: Any, names: tuple[str, ...]) -> tuple[str, ...]:
    """Image names of a side, from a list or from a text file with one name a line (of a table, its first column).

    Raises:
        ConfigError: the file is absent, or a line names no image.
    """
    if isinstance(given, str):
        file = folder / given
        if not file.is_file():
            raise ConfigError(f"{where}: file {file} not found; correct the path")
        lines = [line.split(",")[0].strip() for line in file.read_text(encoding="utf-8").splitlines()]
        entries = [line for line in lines if line]
        # A table may start with a line of column names.
        if file.suffix.lower() == ".csv" and entries and _name_of(entries[0], names) is None:
            entries = entries[1:]
    elif isinstance(given, list):
        entries = [str(entry) for entry in given]
    else:
        raise ConfigError(f"{where} is {given!r}; expected a list of image names or the path of a text file")
    result = []
    for entry in entries:
        name = _name_of(entry, names)
        if name is None:
            raise ConfigError(f"{where} names {entry!r}, which is no image; known: {', '.join(names[:10])}")
        result.append(name)
    return tuple(result)


def _name_of(entry: str, names: tuple[str, ...]) -> str | None:
    return next((name for name in (entry, Path(entry).name, Path(entry).stem) if name in names), None)


def read_images(
    folder: Path, facts: DatasetFacts, images: tuple[UserImage, ...], *, nodata: float | None, axes: Axes | None
) -> list[RawImage]:
    """Read the cubes and labels of a user's data set.

    Raises:
        DataError: a file is damaged, or disagrees with the YAML file or with its label image.
    """
    import numpy as np

    from orchestrator.datasets._formats import read_array, to_HWC

    bands = facts.num_bands + len(facts.dropped_bands)
    kept = np.setdiff1d(np.arange(bands), facts.dropped_bands)
    result = []
    for image in images:
        labels = read_array(folder / image.labels, variable=image.labels_variable, dimensions=2).array
        found = read_array(folder / image.cube, variable=image.cube_variable, dimensions=3)
        _compare_centres(folder / image.cube, found, facts, kept)
        cube = to_HWC(found, bands, _size_to_match(found, labels), axes, str(folder / image.cube))[:, :, kept]
        result.append(RawImage(name=image.name, cube=cube, labels=labels, valid=_valid(cube, nodata)))
    return result


def _size_to_match(found: ArrayFile, labels: NDArray[Any]) -> tuple[int, int] | None:
    """The label image's size helps to order the axes only where it can be that of the cube."""
    shape = (labels.shape[0], labels.shape[1])
    sides = list(found.array.shape)
    fits = all(sides.count(side) >= shape.count(side) for side in shape)
    return shape if fits else None


def _valid(cube: NDArray[Any], nodata: float | None) -> NDArray[Any]:
    import numpy as np

    if nodata is None:
        return np.ones(cube.shape[:2], dtype=bool)
    missing = np.isnan(cube) if math.isnan(nodata) else cube == nodata
    valid: NDArray[Any] = ~missing.any(axis=2)
    return valid


def _compare_centres(file: Path, found: ArrayFile, facts: DatasetFacts, kept: NDArray[Any]) -> None:
    stated, given = found.wavelengths_nm, facts.wavelengths_nm
    if stated is None or given is None or len(stated) <= int(kept.max()):
        return
    for position, band in enumerate(kept):
        if abs(stated[band] - given[position]) > 0.5:
            raise DataError(
                f"{file} states {stated[band]:g} nm for band {band}, the YAML file {given[position]:g} nm; "
                "correct wavelengths_nm (in the order of the file's bands)"
            )
