"""Looking for the folders of HS3-Bench below the data roots: real files, generated ones, or none. Opens no cube."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any

from orchestrator.datasets._base import Definition, Reading, Survey
from orchestrator.datasets._hs3_marker import Marker, as_generated, read_marker


@dataclass(frozen=True, kw_only=True)
class Found:
    """What one folder holds of a data set."""

    absent: tuple[str, ...] = ()
    """Files that are lacking; empty where it is whole."""
    reason: str = ""
    """What is wrong, where no file is lacking."""
    facts: Mapping[str, Any] = field(default_factory=dict)
    """Facts that only the files tell."""
    reads: Mapping[str, Any] = field(default_factory=dict)
    """Further arguments of the reader."""


def survey_folder(
    definition: Definition,
    places: tuple[Path, ...],
    folder: str,
    look: Callable[[Path, Marker | None], Found],
    read: Callable[..., Reading],
) -> Survey:
    """The first place that holds the data set whole, or what the fullest one lacks; generated files stand behind real.

    Args:
        definition: of the real data set.
        places: data roots.
        folder: of the data set below a data root.
        look: says what a folder holds.
        read: the reader; called with the folder and what `look` found for it.
    """
    best: Survey | None = None
    generated: Survey | None = None
    for place in places:
        base = place / folder
        if not base.is_dir():
            continue
        marker = read_marker(base)
        found = look(base, marker)
        if not found.absent and not found.reason:
            facts = replace(definition.facts, **found.facts)
            if marker:
                facts = as_generated(facts, marker)
            identity = (marker.identity,) if marker else ()
            reader = partial(read, marker=marker, **found.reads)
            own = replace(definition, facts=facts, read=reader, identity=identity)
            if marker is None:
                return Survey(definition=own, folder=base)
            generated = generated or Survey(definition=own, folder=base)
        elif best is None or len(found.absent) < len(best.absent):
            best = Survey(
                definition=definition,
                absent=tuple(f"{folder}/{path}" for path in found.absent),
                reason=f"{base}: {found.reason}" if found.reason else "",
            )
    return generated or best or Survey(definition=definition, absent=(f"{folder}/",))


def stems(folder: Path, ending: str) -> set[str]:
    """Names of a folder's files with an ending, the ending cut off; empty where there is no folder."""
    if not folder.is_dir():
        return set()
    return {entry.name[: -len(ending)] for entry in folder.iterdir() if entry.name.endswith(ending)}


def stamp_of(*files: Path) -> str:
    """Names, sizes and times of files."""
    states = [(file.name, file.stat()) for file in files]
    return ";".join(f"{name}:{state.st_size}:{state.st_mtime_ns}" for name, state in states)
