"""What in the cache of data and weights nothing needs any more. It can all be fetched or prepared again."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

from orchestrator.datasets._manifest import prepared_folder
from orchestrator.datasets.locations import DataLocations
from orchestrator.datasets.prepare import ABANDONED_AFTER_S
from orchestrator.datasets.registry import definition_at, list_datasets
from orchestrator.upkeep.leftovers import DAY_S, Item, judged
from orchestrator.upkeep.storage import DiskStorage

_STORE = re.compile(r"(?P<name>.+)-[0-9a-f]{16}")
_BUILDING = ".building-"


def in_cache(locations: DataLocations, sources: Iterable[str], *, wanted: bool) -> Iterator[Item]:
    """Stores of other versions of a data set, and what broken-off work has left.

    Args:
        locations: says where the cache is.
        sources: data sets that the grid names.
        wanted: whether --cache was given.
    """
    ask = "" if wanted else " (--cache deletes it)"
    cache = DiskStorage(locations.cache)
    current = {_store_name(source, locations) for source in {*sources, *list_datasets()}}
    names = {match["name"] for store in current if (match := _STORE.fullmatch(store))}
    used = _mapped_files(locations.prepared)
    for entry in cache.entries(locations.prepared.name):
        match = _STORE.fullmatch(entry.name)
        if entry.name.startswith(_BUILDING):
            young = time.time() - entry.changed <= ABANDONED_AFTER_S
            keep = "younger than a day: it may be at work" if young else ask and f"abandoned{ask}"
            yield judged("abandoned folder", cache, entry, keep=keep, because="preparing was killed in the middle")
        elif match and entry.kind == "folder":
            keep = _why_kept(entry.name, match["name"], current, names, used)
            if keep or entry.name not in current:
                keep = keep or (ask and f"another version of {match['name']}{ask}")
                because = f"{match['name']} is defined otherwise now; it can be prepared again"
                yield judged("prepared data", cache, entry, keep=keep, because=because)
    for folder in (locations.fetched.name, "weights"):
        for entry in cache.tree(folder):
            if entry.kind == "file" and entry.name.endswith(".part") and time.time() - entry.changed > DAY_S:
                keep = ask and f"a download that was broken off{ask}"
                yield judged("download", cache, entry, keep=keep, because="a download that was broken off")


def _why_kept(store: str, name: str, current: set[str], names: set[str], used: dict[str, int]) -> str:
    if store in current:
        return f"the store of {name} that runs read"
    if name not in names:
        return f"{name} is no data set of this grid; another one may need it"
    return f"process {used[store]} reads it" if store in used else ""


def _store_name(source: str, locations: DataLocations) -> str:
    return prepared_folder(definition_at(source, locations), locations.prepared).name


def _mapped_files(prepared: Path) -> dict[str, int]:
    """Stores that a process of this machine has mapped, as far as we may look, with the process."""
    found: dict[str, int] = {}
    base = f"{prepared.resolve()}/"
    for maps in Path("/proc").glob("[0-9]*/maps"):
        try:
            text = maps.read_text(errors="replace")
        except OSError:
            continue
        if base in text:
            for line in text.splitlines():
                _, is_inside, rest = line.partition(base)
                if is_inside:
                    found[rest.split("/", 1)[0]] = int(maps.parent.name)
    return found
