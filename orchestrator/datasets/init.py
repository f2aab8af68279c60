"""Writes the first YAML of a user's own data set: what the files say, and a question for all they do not say."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, get_args

from orchestrator.datasets._fields import TODO, open_questions
from orchestrator.datasets._survey import Found, Pair, survey
from orchestrator.errors import DataError
from orchestrator.plan.facts import Quantity

FILE_NAME = "dataset.yaml"
LINE_LENGTH = 110
NAMES_OF_NOTHING = frozenset(
    {"unclassified", "unlabelled", "unlabeled", "undefined", "background", "no data", "nodata"}
)
"""What label files call id 0 where it is no class; ENVI's own name comes first."""


@dataclass(frozen=True, kw_only=True)
class Draft:
    """The text of a YAML file and what is still to be answered in it."""

    text: str
    questions: tuple[str, ...]
    """Key and question of every value that starts with TODO; the loader refuses the file until none is left."""
    lines: tuple[int, ...]
    """Line of each question in the text, from 1."""
    notes: tuple[str, ...] = ()
    """Files of the folder that are not in the description, and why; the text has them as comments."""


def draft(folder: Path) -> Draft:
    """Describe the cubes and label images of a folder.

    Raises:
        DataError: the folder is absent or holds no cube.
    """
    import yaml

    found = survey(folder)
    text = "\n".join(_lines(folder, found)) + "\n"
    questions = tuple(f"{key}: {question}" for key, question in open_questions(yaml.safe_load(text)))
    lines = tuple(number for number, line in enumerate(text.splitlines(), 1) if f'"{TODO}' in line)
    return Draft(text=text, questions=questions, lines=lines, notes=tuple(_notes(found)))


def write_draft(folder: Path, text: str) -> Path:
    """Write the draft into its folder as `dataset.yaml`, never over a file that is there.

    Raises:
        DataError: there is one already, or the folder is not writable.
    """
    target = folder / FILE_NAME
    try:
        with target.open("x", encoding="utf-8") as file:
            file.write(text)
    except FileExistsError as error:
        raise DataError(f"{target} exists and is kept; edit it, or move it away and run the command again") from error
    except OSError as error:
        raise DataError(f"cannot write {target}: {error}") from error
    return target


def _lines(folder: Path, found: Found) -> list[str]:
    first = found.pairs[0].cube
    scene = len(found.pairs) == 1
    lines = [
        "# A data set of your own. Answer every TODO, then use this file's path wherever a data set is named.",
        f"name: {json.dumps(folder.absolute().name)}",
        f"title: {json.dumps(folder.absolute().name)}",
        _ask("domain", "remote (from the air or space) or proximal (near the object)"),
        _ask("sensor", "the camera or instrument"),
        'region: ""',
        _ask("quantity", f"one of {', '.join(get_args(Quantity))}; raw if you do not know"),
    ]
    if first.scale is not None:
        lines.append(f"scale: {first.scale:g}  # from the file; stored number / scale = quantity")
    else:
        seen = f" ({first.numbers})" if first.numbers else ""
        lines.append(_ask("scale", f"stored number / scale = quantity: 10000 for reflectance x 10000, 1 if raw{seen}"))
    lines += [f"# {note}" for note in _notes(found)]
    lines += _band_lines(found)
    lines += _image_lines(found)
    lines += _class_lines(found)
    lines.append(_ask("labels", "human, or derived (from a model, for example unmixing)"))
    lines.append(f"split: {'block' if scene else 'images'}")
    if not scene and found.split_lists:
        lines.append("split_lists:")
        lines += [f"  {side}: {json.dumps(path)}" for side, path in found.split_lists.items()]
    elif 1 < len(found.pairs) < 3:
        lines.append(_ask("split_lists", "{train: [...], test: [...]}: 2 images are too few for folds"))
    lines += ['citation: ""', 'licence: ""']
    return lines


def _notes(found: Found) -> list[str]:
    """What of the folder is not in the description."""
    return [
        *(f"not read: {' '.join(reason.split())}" for reason in found.unread),
        *(f"left out, no label image: {path}" for path in found.unlabelled),
    ]


def _ask(key: str, question: str) -> str:
    return f"{key}: {json.dumps(f'{TODO}: {question}')}"


def _band_lines(found: Found) -> list[str]:
    first = found.pairs[0].cube
    lines = []
    if first.bands is None:
        lines.append(_ask("bands", f"which axis of {first.shape} is the bands? give their number, and axes"))
        lines.append(_ask("axes", "HWC, CHW or CWH (height, width, bands) as stored"))
    else:
        lines.append(f"bands: {first.bands}")
        if first.axes_uncertain:
            lines.append(_ask("axes", f"{' or '.join(first.axes_uncertain)}: both fit {first.shape}"))
    if first.wavelengths_nm:
        lines += _wrapped("wavelengths_nm", first.wavelengths_nm)
        lines.append(f"wavelengths_provenance: {json.dumps(f'header of {first.path}')}")
        if first.fwhm_nm:
            lines += _wrapped("fwhm_nm", first.fwhm_nm)
    else:
        lines.append(_ask("wavelengths_nm", "list of band centres in nm in the order of the file, null if unknown"))
    bad = [index for index, good in enumerate(first.good_bands or ()) if not good]
    lines += _wrapped("dropped_bands", bad)
    lines.append(f"nodata: {'null' if first.nodata is None else first.nodata}")
    return lines


def _image_lines(found: Found) -> list[str]:
    sizes = [pair.cube.size for pair in found.pairs]
    known = [size for size in sizes if size is not None]
    if len(known) == len(sizes):
        lines = [f"image_size_px: [{max(h for h, _ in known)}, {max(w for _, w in known)}]"]
    else:
        lines = [_ask("image_size_px", "[height, width] of the largest image")]
    lines.append("images:")
    for pair in found.pairs:
        lines.append(f"  - cube: {json.dumps(pair.cube.path)}")
        if pair.cube.variable:
            lines.append(f"    cube_variable: {json.dumps(pair.cube.variable)}")
        lines.append(f"    labels: {json.dumps(_labels_of(pair))}")
        if pair.labels is not None and pair.labels.variable:
            lines.append(f"    labels_variable: {json.dumps(pair.labels.variable)}")
    return lines


def _labels_of(pair: Pair) -> str:
    if pair.labels is not None:
        return pair.labels.path
    choice = f" (candidates: {', '.join(pair.candidates[:6])})" if pair.candidates else ""
    return f"{TODO}: the label image of this cube{choice}"


def _class_lines(found: Found) -> list[str]:
    lines = ["classes:  # id in the label images: name"]
    if not found.label_ids:
        return [_ask("classes", "{id: name, ...} of the label images"), "ignored_ids: [0]"]
    named = found.class_names or {}
    for label in found.label_ids:
        # Whether 0 is a class cannot be seen; it is asked below, and left out of the classes until then.
        if label != 0:
            value = named.get(label)
            lines.append(f"  {label}: {json.dumps(value or f'{TODO}: name of class {label}')}")
    if named.get(0, "").strip().lower() in NAMES_OF_NOTHING:
        lines.append(f"ignored_ids: [0]  # the file calls id 0 {json.dumps(named[0])}")
    elif 0 in found.label_ids:
        lines.append(_ask("ignored_ids", "[0] if id 0 means unlabelled; [] if it is a class (then name it above)"))
    else:
        lines.append("ignored_ids: []")
    return lines


def _wrapped(key: str, values: Sequence[Any]) -> list[str]:
    """A list over as many lines as it needs."""
    if not values:
        return [f"{key}: []"]
    lines, line = [f"{key}: ["], "   "
    for value in values:
        item = f" {value},"
        if len(line) + len(item) > LINE_LENGTH:
            lines.append(line)
            line = "   "
        line += item
    return [*lines, line, "  ]"]
