"""A user's own data set: one YAML file that says what the files hold and what they mean."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

import yaml

from orchestrator.datasets import _fields as fields
from orchestrator.datasets._base import BlockRule, Definition, FoldPlan
from orchestrator.datasets._user_files import UserImage, list_images, read_images, split_list
from orchestrator.errors import ConfigError
from orchestrator.plan.facts import DatasetFacts, Quantity, SourceFile, SplitKind

REQUIRED = ("name", "domain", "sensor", "quantity", "bands", "image_size_px", "classes", "images")
OPTIONAL = (
    "title",
    "region",
    "scene",
    "scale",
    "wavelengths_nm",
    "fwhm_nm",
    "wavelengths_provenance",
    "dropped_bands",
    "nodata",
    "ignored_ids",
    "headline_classes",
    "labels",
    "axes",
    "split",
    "split_lists",
    "folds",
    "block_side_px",
    "block_buffer_px",
    "citation",
    "licence",
)
DEFAULT_FOLDS = 5


def load_definition(path: Path) -> Definition:
    """Read and check a data set's YAML file; opens no cube.

    Raises:
        ConfigError: absent, no YAML, an unknown key (with the nearest known one), a wrong value, or a question that
            `data init` left and nobody answered.
    """
    given = _load(path)
    where = str(path)
    questions = list(fields.open_questions(given))
    if questions:
        listed = "".join(f"\n  {key}: {question}" if question else f"\n  {key}" for key, question in questions[:12])
        raise ConfigError(
            f"{where} has {len(questions)} open questions; replace every value that starts with TODO:{listed}"
        )
    fields.check_keys(where, given, (*REQUIRED, *OPTIONAL), REQUIRED)
    folder = path.absolute().parent
    images = list_images(where, folder, given["images"])
    folds = _folds(where, folder, given, images)
    facts = _facts(where, given, images, folds)
    nodata = fields.nodata(where, "nodata", given.get("nodata"))
    axes = fields.choice(where, "axes", given["axes"], ("HWC", "CHW", "CWH")) if given.get("axes") else None
    return Definition(
        facts=facts,
        read=lambda folder: read_images(folder, facts, images, nodata=nodata, axes=axes),
        ignored_ids=fields.whole_list(where, "ignored_ids", given.get("ignored_ids", [0])),
        blocks=_blocks(where, given),
        folds=folds,
        folder=folder,
        identity=(repr(nodata), str(axes), *(stamp for image in images for stamp in image.stamps(folder))),
    )


def _load(path: Path) -> Mapping[Any, Any]:
    try:
        given = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ConfigError(f"dataset file {path} not found; make one with: hsfm-sweep data init FOLDER") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise ConfigError(f"{path} cannot be read as YAML: {error}") from error
    return fields.mapping(str(path), "the file", given)


def _facts(
    where: str, given: Mapping[Any, Any], images: tuple[UserImage, ...], folds: tuple[FoldPlan, ...] | None
) -> DatasetFacts:
    bands = fields.whole(where, "bands", given["bands"], at_least=1)
    dropped = tuple(sorted(set(fields.whole_list(where, "dropped_bands", given.get("dropped_bands") or []))))
    if dropped and (dropped[0] < 0 or dropped[-1] >= bands or len(dropped) == bands):
        raise ConfigError(f"{where}: dropped_bands {list(dropped)}; allowed: some of 0 to {bands - 1}, not all")
    kept = [band for band in range(bands) if band not in dropped]
    centres = fields.lengths_nm(
        where, "wavelengths_nm", given.get("wavelengths_nm"), bands, shortest=fields.SHORTEST_NM
    )
    widths = fields.lengths_nm(where, "fwhm_nm", given.get("fwhm_nm"), bands, shortest=0.1)
    class_ids, class_names = _classes(where, given)
    scene = len(images) == 1
    return DatasetFacts(
        name=fields.text(where, "name", given["name"]),
        title=str(given.get("title") or given["name"]),
        num_bands=len(kept),
        wavelengths_nm=tuple(centres[band] for band in kept) if centres else None,
        fwhm_nm=tuple(widths[band] for band in kept) if widths else None,
        wavelengths_provenance=str(
            given.get("wavelengths_provenance") or (f"stated in {Path(where).name}" if centres else "not stated")
        ),
        dropped_bands=dropped,
        quantity=fields.choice(where, "quantity", given["quantity"], get_args(Quantity)),
        scale=fields.positive(where, "scale", given.get("scale", 1.0)),
        class_names=class_names,
        class_ids=class_ids,
        headline_classes=_headline(where, given, class_names),
        domain=fields.choice(where, "domain", given["domain"], ("remote", "proximal")),
        sensor=fields.text(where, "sensor", given["sensor"]),
        region=str(given.get("region") or ""),
        scene=str(given.get("scene") or ""),
        labels=fields.choice(where, "labels", given.get("labels", "human"), ("human", "derived")),
        task="scene" if scene else "images",
        image_size_px=_size(where, given["image_size_px"]),
        num_images=len(images),
        train_images=len(folds[0].train) if folds else 0,
        split=_split(where, given, scene),
        folds=_fold_count(where, given, images, folds),
        files=tuple(SourceFile(path=path) for path in dict.fromkeys(p for image in images for p in image.paths())),
        citation=str(given.get("citation") or ""),
        licence=str(given.get("licence") or ""),
    )


def _classes(where: str, given: Mapping[Any, Any]) -> tuple[tuple[int, ...], tuple[str, ...]]:
    classes = fields.mapping(where, "classes", given["classes"])
    ids = fields.whole_list(where, "classes", list(classes))
    names = tuple(fields.text(where, f"classes.{key}", value) for key, value in classes.items())
    if len(names) < 2 or len(set(names)) != len(names):
        raise ConfigError(f"{where}: classes are {list(names)}; expected at least 2, each with a name of its own")
    both = sorted(set(ids) & set(given.get("ignored_ids", [0]) or []))
    if both:
        raise ConfigError(
            f"{where}: id {both[0]} is a class and in ignored_ids as well (which is [0] unless stated); "
            "write ignored_ids without it, for example ignored_ids: []"
        )
    return ids, names


def _headline(where: str, given: Mapping[Any, Any], names: tuple[str, ...]) -> tuple[str, ...] | None:
    listed = given.get("headline_classes")
    if listed is None:
        return None
    if not isinstance(listed, list) or not listed:
        raise ConfigError(f"{where}: headline_classes is {listed!r}; expected a list of class names, or null")
    return tuple(fields.choice(where, "headline_classes", name, names) for name in listed)


def _size(where: str, value: Any) -> tuple[int, int]:
    size = fields.whole_list(where, "image_size_px", value)
    if len(size) != 2 or min(size) < 1:
        raise ConfigError(f"{where}: image_size_px is {value!r}; expected [height, width] of the largest image")
    return size[0], size[1]


def _split(where: str, given: Mapping[Any, Any], scene: bool) -> SplitKind:
    allowed = ("block", "random") if scene else ("images", "random")
    return fields.choice(where, "split", given.get("split", allowed[0]), allowed)


def _fold_count(
    where: str, given: Mapping[Any, Any], images: tuple[UserImage, ...], folds: tuple[FoldPlan, ...] | None
) -> int:
    if folds is not None or len(images) == 1:
        if given.get("folds", 1) != 1:
            raise ConfigError(f"{where}: folds is {given['folds']!r}; a scene and given split_lists have 1 fold")
        return 1
    count = fields.whole(where, "folds", given.get("folds", min(DEFAULT_FOLDS, len(images))), at_least=3)
    if count > len(images):
        raise ConfigError(f"{where}: {count} folds over {len(images)} images; allowed: 3 to {len(images)}")
    return count


def _blocks(where: str, given: Mapping[Any, Any]) -> BlockRule | None:
    if given.get("block_side_px") is None:
        return None
    side = fields.whole(where, "block_side_px", given["block_side_px"], at_least=2)
    buffer = fields.whole(where, "block_buffer_px", given.get("block_buffer_px", 4), at_least=0)
    return BlockRule(side_px=side, buffer_px=buffer)


def _folds(
    where: str, folder: Path, given: Mapping[Any, Any], images: tuple[UserImage, ...]
) -> tuple[FoldPlan, ...] | None:
    if given.get("split_lists") is None:
        return None
    lists = fields.mapping(where, "split_lists", given["split_lists"])
    fields.check_keys(f"{where}, split_lists", lists, ("train", "validation", "test"), ("train", "test"))
    names = tuple(image.name for image in images)
    sides = {
        side: split_list(f"{where}, split_lists.{side}", folder, lists.get(side) or [], names)
        for side in ("train", "validation", "test")
    }
    return (FoldPlan(**sides),)
