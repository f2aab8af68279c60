"""The prepared form of a data set: Arrow files that every process of a host maps instead of reading.

One folder holds `manifest.json` (facts, digest, splits) and one Arrow IPC file an image, with one row a pixel:
the spectrum as a fixed-size list, the class index and whether the pixel is valid.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.datasets._base import FoldPlan
from orchestrator.datasets._blocks import BlockLayout
from orchestrator.datasets._manifest import FORMAT_VERSION, MANIFEST, read_manifest
from orchestrator.errors import DataError
from orchestrator.plan.facts import DatasetFacts, SourceFile


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """One image; the arrays are read-only views of the mapped file."""

    name: str
    cube_HWC: NDArray[Any]
    """Numbers as in the original file; 0 where the sensor delivered no data."""
    labels_HW: NDArray[np.int16]
    """Class index 0..K-1, -1 where unlabelled or ignored."""
    valid_HW: NDArray[np.bool_]
    """False where the sensor delivered no data."""


@dataclass(frozen=True, kw_only=True)
class PreparedDataset:
    """A data set as runs use it."""

    facts: DatasetFacts
    digest: str
    images: tuple[PreparedImage, ...]
    layout: BlockLayout | None
    """Blocks of a single scene; None for image sets."""
    folds: tuple[FoldPlan, ...]
    """Images of each side by fold; empty for a single scene."""
    path: Path


def open_prepared(path: Path) -> PreparedDataset:
    """Map a prepared folder.

    Raises:
        DataError: the folder is absent, of another format version, or a file in it was cut short.
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise DataError(f"{path} holds no prepared data set of format {FORMAT_VERSION}; run: hsfm-sweep data prepare")
    facts = facts_from_json(manifest["facts"])
    layout = manifest["layout"]
    return PreparedDataset(
        facts=facts,
        digest=manifest["digest"],
        images=tuple(_map_image(path, entry, facts.num_bands) for entry in manifest["images"]),
        layout=BlockLayout.from_json(layout) if layout else None,
        folds=tuple(FoldPlan(**{side: tuple(names) for side, names in fold.items()}) for fold in manifest["folds"]),
        path=path,
    )


def write_image(
    folder: Path, index: int, name: str, cube_HWC: NDArray[Any], labels_HW: NDArray[Any], valid_HW: NDArray[np.bool_]
) -> dict[str, Any]:
    """Write one image; returns its entry of the manifest."""
    height, width, bands = cube_HWC.shape
    file = folder / f"image_{index:05d}.arrow"
    values = pa.array(np.ascontiguousarray(cube_HWC).reshape(-1))
    columns = {
        "cube": pa.FixedSizeListArray.from_arrays(values, bands),
        "labels": pa.array(np.ascontiguousarray(labels_HW, dtype=np.int16).reshape(-1)),
        "valid": pa.array(np.ascontiguousarray(valid_HW).view(np.uint8).reshape(-1)),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return {"name": name, "file": file.name, "height": height, "width": width, "size_bytes": file.stat().st_size}


def write_manifest(
    folder: Path,
    *,
    facts: DatasetFacts,
    digest: str,
    images: Sequence[Mapping[str, Any]],
    layout: BlockLayout | None,
    folds: Sequence[FoldPlan],
) -> None:
    """Write the manifest, last of all files."""
    manifest = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "facts": asdict(facts),
        "layout": layout.to_json() if layout else None,
        "folds": [asdict(fold) for fold in folds],
        "images": list(images),
    }
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, allow_nan=False), encoding="utf-8")


def facts_from_json(data: Mapping[str, Any]) -> DatasetFacts:
    """The facts that `dataclasses.asdict` turned into plain data."""
    values: dict[str, Any] = {}
    for item in fields(DatasetFacts):
        if item.name in data:
            value = data[item.name]
            values[item.name] = tuple(value) if isinstance(value, list) else value
    values["files"] = tuple(SourceFile(**file) for file in data.get("files", ()))
    return DatasetFacts(**values)


def _map_image(folder: Path, entry: Mapping[str, Any], bands: int) -> PreparedImage:
    file = folder / entry["file"]
    found = file.stat().st_size if file.exists() else 0
    if found != entry["size_bytes"]:
        raise DataError(
            f"prepared file {file} has {found} bytes, {entry['size_bytes']} were written; "
            f"delete {folder} and run: hsfm-sweep data prepare"
        )
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(file), "r")).get_batch(0)
    except pa.ArrowInvalid as error:
        raise DataError(
            f"prepared file {file} is damaged ({error}); delete {folder} and run: hsfm-sweep data prepare"
        ) from error
    shape = (entry["height"], entry["width"])
    # The views keep the map alive: NumPy holds the Arrow buffer, the buffer holds the file's map.
    cube = batch.column("cube").flatten().to_numpy(zero_copy_only=True).reshape(*shape, bands)
    labels = batch.column("labels").to_numpy(zero_copy_only=True).reshape(shape)
    valid = batch.column("valid").to_numpy(zero_copy_only=True).view(np.bool_).reshape(shape)
    return PreparedImage(name=entry["name"], cube_HWC=cube, labels_HW=labels, valid_HW=valid)
