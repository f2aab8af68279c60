"""Scenes of the literature that come as two MATLAB files: one with the cube, one with the labels."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from orchestrator.datasets._base import RawImage
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts, SourceFile

if TYPE_CHECKING:
    from numpy.typing import NDArray

BASQUE_UPLOADS = "https://www.ehu.eus/ccwintco/uploads"
"""Where the University of the Basque Country keeps the files of its scenes."""
UNCHECKED = "No checksum of the files is known here: they are used as they are. Shapes and class ids are checked."
NOT_VALIDATED = "Its reader is built from public descriptions of the files, and not yet validated on the real ones."


def basque_file(path: str, upload: str, sha256: str | None = None) -> SourceFile:
    """A file of the Basque collection; `upload` is its place below the uploads."""
    return SourceFile(path=path, sha256=sha256, url=f"{BASQUE_UPLOADS}/{upload}")


def read_scene(
    facts: DatasetFacts, folder: Path, *, cube_variable: str | None, labels_variable: str | None
) -> list[RawImage]:
    """The one scene of a data set whose files are the cube's and the labels', in this order.

    Args:
        facts: the data set's.
        folder: below it lie the files.
        cube_variable: None = the only array with three dimensions.
        labels_variable: None = the only array with two dimensions.

    Raises:
        DataError: an array of another shape than the facts say, or what `read_array` raises.
    """
    from orchestrator.datasets._formats import read_array

    cube_file, labels_file = (folder / file.path for file in facts.files[:2])
    cube = read_array(cube_file, variable=cube_variable, dimensions=3).array
    labels = read_array(labels_file, variable=labels_variable, dimensions=2).array
    return checked_scene(facts, cube, labels, cube_file, labels_file)


def checked_scene(
    facts: DatasetFacts, cube: NDArray[Any], labels: NDArray[Any], cube_file: Path, labels_file: Path
) -> list[RawImage]:
    """The one scene, if its arrays have the shapes that the facts say.

    Raises:
        DataError: they have others.
    """
    import numpy as np

    for file, found, expected in (
        (cube_file, cube.shape, (*facts.image_size_px, facts.num_bands)),
        (labels_file, labels.shape, facts.image_size_px),
    ):
        if tuple(found) != tuple(expected):
            raise DataError(
                f"{file} holds an array of shape {'x'.join(map(str, found))}; expected "
                f"{'x'.join(map(str, expected))} (rows, columns, bands); it is another version of {facts.name}: "
                "get the one of its public address, or describe yours in a YAML file (hsfm-sweep data init)"
            )
    return [RawImage(name=facts.name, cube=cube, labels=labels, valid=np.ones(labels.shape, dtype=bool))]
