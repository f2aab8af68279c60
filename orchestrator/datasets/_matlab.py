"""MATLAB files of both kinds (up to version 7, and 7.3 which is HDF5), and plain HDF5."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from orchestrator.datasets._formats import ArrayFile
from orchestrator.errors import DataError


def read_variable(path: Path, variable: str | None = None, dimensions: int | None = None) -> ArrayFile:
    """Read one numeric array; without a name, the only one with that number of dimensions.

    Raises:
        DataError: no such variable, or several to choose from.
    """
    import h5py

    is_hdf5 = h5py.is_hdf5(path)
    shapes = hdf5_shapes(path) if is_hdf5 else mat_shapes(path)
    name = variable or _choose(path, shapes, dimensions)
    if name not in shapes:
        raise DataError(f"{path} holds no array {name!r}; it holds: {_listed(shapes)}; correct the variable's name")
    if is_hdf5:
        return ArrayFile(array=_read_hdf5(path, name), variable=name)
    from scipy.io import loadmat

    return ArrayFile(array=np.asarray(loadmat(path, variable_names=[name])[name]), variable=name)


def _choose(path: Path, shapes: dict[str, tuple[int, ...]], dimensions: int | None) -> str:
    fitting = {
        name: shape
        for name, shape in shapes.items()
        if dimensions in (None, len(shape)) and (len(shape) == 3 or min(shape, default=0) > 1)
    }
    if len(fitting) != 1:
        raise DataError(
            f"{path} holds {len(fitting)} arrays that could be meant ({_listed(fitting or shapes)}); "
            "state which: cube_variable or labels_variable"
        )
    return next(iter(fitting))


def _listed(shapes: dict[str, tuple[int, ...]]) -> str:
    return ", ".join(f"{name} {'x'.join(map(str, shape))}" for name, shape in shapes.items()) or "nothing numeric"


def mat_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    from scipy.io import whosmat

    numeric = ("int", "uint", "double", "single", "logical")
    return {name: tuple(shape) for name, shape, kind in whosmat(path) if kind.startswith(numeric)}


def hdf5_shapes(path: Path) -> dict[str, tuple[int, ...]]:
    import h5py

    shapes: dict[str, tuple[int, ...]] = {}

    def visit(name: str, item: Any) -> None:
        # MATLAB keeps the parts of cells and structures in groups that start with '#'.
        if isinstance(item, h5py.Dataset) and item.dtype.kind in "iuf" and not name.startswith("#"):
            shapes[name] = item.shape[::-1] if "MATLAB_class" in item.attrs else item.shape

    with h5py.File(path, "r") as file:
        file.visititems(visit)
    return shapes


def _read_hdf5(path: Path, name: str) -> Any:
    """The array; MATLAB writes its axes reversed, so that they are turned back to what MATLAB shows."""
    import h5py

    with h5py.File(path, "r") as file:
        item = file[name]
        array = item[()]
        return array.T if "MATLAB_class" in item.attrs else array
