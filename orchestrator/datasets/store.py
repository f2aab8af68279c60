"""The prepared form of a data set: Arrow files that every process of a host maps instead of reading.

One folder holds `manifest.json` (facts, digest, splits) and one Arrow IPC file an image, with one row a pixel:
the spectrum as a fixed-size list, the class index and whether the pixel is valid. Cubes that come as scores and
coefficients stay so: the list is the scores, and the coefficients are in the file's metadata.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from orchestrator.datasets._base import FoldPlan
from orchestrator.datasets._blocks import BlockLayout
from orchestrator.datasets._low_rank import LowRankCube
from orchestrator.datasets._manifest import FORMAT_VERSION, MANIFEST, read_manifest
from orchestrator.errors import PreparedDataError
from orchestrator.plan.facts import DatasetFacts, SourceFile


@dataclass(frozen=True, kw_only=True)
class BandMoments:
    """Count, mean, sum of squared distances from the mean, and range of each band, float64 [C]."""

    count: int
    mean_C: NDArray[np.float64]
    squares_C: NDArray[np.float64]
    minimum_C: NDArray[np.float64]
    maximum_C: NDArray[np.float64]

    def to_json(self) -> dict[str, Any]:
        return {item.name: np.asarray(getattr(self, item.name)).tolist() for item in fields(self)}

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> BandMoments:
        arrays = {name: np.array(value, dtype=np.float64) for name, value in data.items() if name != "count"}
        return cls(count=int(data["count"]), **arrays)


@dataclass(frozen=True, kw_only=True)
class PreparedImage:
    """One image; the arrays are read-only views of the mapped file."""

    name: str
    cube_HWC: NDArray[Any]
    """Numbers as in the original file; 0 where the sensor delivered no data. A `LowRankCube` where the file holds
    scores and coefficients: it is indexed like an array and decodes what is asked for."""
    labels_HW: NDArray[np.int16]
    """Class index 0..K-1, -1 where unlabelled or ignored."""
    valid_HW: NDArray[np.bool_]
    """False where the sensor delivered no data."""
    moments: BandMoments | None = None
    """Of all valid pixels, kept for images of large sets so that no run has to read every image twice."""


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
    notes: tuple[str, ...] = ()
    """What the reader left out or found odd."""


def open_prepared(path: Path) -> PreparedDataset:
    """Map a prepared folder.

    Raises:
        DataError: the folder is absent, of another format version, or a file in it was cut short.
    """
    manifest = read_manifest(path)
    if manifest is None:
        raise PreparedDataError(
            f"{path} holds no prepared data set of format {FORMAT_VERSION}; run: hsfm-sweep data prepare"
        )
    facts = facts_from_json(manifest["facts"])
    layout = manifest["layout"]
    return PreparedDataset(
        facts=facts,
        digest=manifest["digest"],
        images=tuple(_map_image(path, entry, facts.num_bands) for entry in manifest["images"]),
        layout=BlockLayout.from_json(layout) if layout else None,
        folds=tuple(FoldPlan(**{side: tuple(names) for side, names in fold.items()}) for fold in manifest["folds"]),
        path=path,
        notes=tuple(manifest.get("notes", ())),
    )


def write_image(
    folder: Path,
    index: int,
    name: str,
    cube_HWC: NDArray[Any] | LowRankCube,
    labels_HW: NDArray[Any],
    valid_HW: NDArray[np.bool_],
) -> dict[str, Any]:
    """Write one image; returns its entry of the manifest."""
    height, width, _ = cube_HWC.shape
    file = folder / f"image_{index:05d}.arrow"
    stored: NDArray[Any] = cube_HWC.scores_HWD if isinstance(cube_HWC, LowRankCube) else cube_HWC
    values = pa.array(np.ascontiguousarray(stored).reshape(-1))
    columns = {
        "cube": pa.FixedSizeListArray.from_arrays(values, stored.shape[2]),
        "labels": pa.array(np.ascontiguousarray(labels_HW, dtype=np.int16).reshape(-1)),
        "valid": pa.array(np.ascontiguousarray(valid_HW).view(np.uint8).reshape(-1)),
    }
    batch = pa.RecordBatch.from_pydict(columns)
    entry: dict[str, Any] = {"name": name, "file": file.name, "height": height, "width": width}
    if isinstance(cube_HWC, LowRankCube):
        parts = {"coefficients": cube_HWC.coefficients_DC, "mean": cube_HWC.mean_C}
        batch = batch.replace_schema_metadata({key: np.asarray(part, "<f4").tobytes() for key, part in parts.items()})
        entry["rank"] = cube_HWC.rank
    with pa.OSFile(str(file), "wb") as sink, pa.ipc.new_file(sink, batch.schema) as writer:
        writer.write_batch(batch)
    return {**entry, "size_bytes": file.stat().st_size, "crc32": checksum(file)}


def checksum(file: Path) -> int:
    """CRC-32 of a file: finds accidents of a disk, at the speed of reading."""
    found = 0
    with file.open("rb") as stream:
        while chunk := stream.read(2**22):
            found = zlib.crc32(chunk, found)
    return found


def write_manifest(
    folder: Path,
    *,
    facts: DatasetFacts,
    digest: str,
    images: Sequence[Mapping[str, Any]],
    layout: BlockLayout | None,
    folds: Sequence[FoldPlan],
    notes: Sequence[str] = (),
) -> None:
    """Write the manifest, last of all files."""
    manifest = {
        "format_version": FORMAT_VERSION,
        "digest": digest,
        "facts": asdict(facts),
        "layout": layout.to_json() if layout else None,
        "folds": [asdict(fold) for fold in folds],
        "notes": list(notes),
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
        raise PreparedDataError(
            f"prepared file {file} has {found} bytes, {entry['size_bytes']} were written; "
            f"delete {folder} and run: hsfm-sweep data prepare"
        )
    try:
        batch = pa.ipc.open_file(pa.memory_map(str(file), "r")).get_batch(0)
    except (pa.ArrowInvalid, OSError) as error:
        raise PreparedDataError(
            f"prepared file {file} is damaged or cannot be read ({error}); delete {folder} and run: "
            "hsfm-sweep data prepare"
        ) from error
    shape = (entry["height"], entry["width"])
    # The views keep the map alive: NumPy holds the Arrow buffer, the buffer holds the file's map.
    rank = entry.get("rank")
    cube = batch.column("cube").flatten().to_numpy(zero_copy_only=True).reshape(*shape, rank or bands)
    if rank:
        coefficients, mean = (np.frombuffer(batch.schema.metadata[key], "<f4") for key in (b"coefficients", b"mean"))
        cube = LowRankCube(cube, coefficients.reshape(rank, bands), mean)
    moments = BandMoments.from_json(entry["moments"]) if "moments" in entry else None
    labels = batch.column("labels").to_numpy(zero_copy_only=True).reshape(shape)
    valid = batch.column("valid").to_numpy(zero_copy_only=True).view(np.bool_).reshape(shape)
    return PreparedImage(name=entry["name"], cube_HWC=cube, labels_HW=labels, valid_HW=valid, moments=moments)
