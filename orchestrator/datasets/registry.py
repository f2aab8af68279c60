"""Which data sets there are, what is known of them, and whether they can be used. Opens no cube."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Sequence
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from types import ModuleType

from orchestrator import datasets
from orchestrator.datasets._base import Definition, Survey
from orchestrator.datasets._manifest import prepared_folder, read_manifest
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, unknown
from orchestrator.plan.facts import DatasetFacts, DatasetStatus

ENTRY_POINTS = "hsfm_sweep.datasets"
PLUMBING = frozenset(
    {"registry", "locations", "prepare", "store", "tasks", "statistics", "audit", "fetch", "imitate", "init"}
)
"""Public modules of this package that are no data sets."""


@cache
def _packaged() -> tuple[str, ...]:
    names = (module.name for module in pkgutil.iter_modules(datasets.__path__))
    return tuple(sorted(name for name in names if not name.startswith("_") and name not in PLUMBING))


@cache
def _plugins() -> dict[str, str]:
    """Name and module of the data sets that installed packages offer."""
    return {point.name: point.module for point in entry_points(group=ENTRY_POINTS) if point.name not in _packaged()}


def list_datasets() -> tuple[str, ...]:
    """Names of all data sets, packaged ones and those of installed packages."""
    return tuple(sorted({*_packaged(), *_plugins()}))


def get_definition(name: str) -> Definition:
    """A data set by its name, or a user's own by the path of its YAML file.

    Raises:
        ConfigError: no such data set, or a YAML file that is not understood.
    """
    if name.endswith((".yaml", ".yml")):
        from orchestrator.datasets._user_yaml import load_definition

        definition = load_definition(Path(name))
        if definition.facts.name in list_datasets():
            raise ConfigError(
                f"{name}: name is {definition.facts.name!r}, which is another data set; allowed: any name but "
                f"{', '.join(list_datasets())}; change name in the file"
            )
        return definition
    if name in _packaged():
        return _from_module(importlib.import_module(f"{datasets.__name__}.{name}"))
    if name in _plugins():
        return _from_module(importlib.import_module(_plugins()[name]))
    hint = "Your own data: hsfm-sweep data init FOLDER."
    if Path(name).is_dir():
        hint = f"Your own data: the path of a YAML file, such as {name.rstrip('/')}/dataset.yaml, made by data init."
    raise unknown("dataset", name, list_datasets(), hint=hint)


def get_facts(name: str) -> DatasetFacts:
    """The datasheet of a data set; see `get_definition` for names and errors."""
    return get_definition(name).facts


def known_colours(name: str, class_names: Sequence[str]) -> tuple[str, ...]:
    """Colours of these classes where the data set states any; empty for other classes, and for unknown data sets."""
    if name not in list_datasets():
        return ()
    facts = get_facts(name)
    return facts.class_colours if facts.class_names == tuple(class_names) else ()


def status(name: str, locations: DataLocations) -> DatasetStatus:
    """Whether the data set can be used now: looks for files and the prepared manifest, opens no cube.

    `reason` is empty where it can be used; `digest` is None until it is prepared.
    """
    definition = get_definition(name)
    found = survey(definition, locations)
    manifest = read_manifest(prepared_folder(found.definition, locations.prepared))
    facts, present = found.definition.facts, found.folder is not None
    if manifest is not None:
        return DatasetStatus(facts=facts, digest=manifest["digest"], files_present=present)
    if present:
        return DatasetStatus(facts=facts, files_present=True, remedy=f"hsfm-sweep data prepare {name}")
    return DatasetStatus(
        facts=facts,
        reason=found.reason or _absent_text(found.absent, _places(definition, locations)),
        remedy=remedy(definition, name),
    )


def definition_at(name: str, locations: DataLocations) -> Definition:
    """A data set as the files at hand make it: generated files in place of the original ones have facts of their own.

    Raises:
        ConfigError: no such data set, or a YAML file that is not understood.
    """
    return survey(get_definition(name), locations).definition


def survey(definition: Definition, locations: DataLocations) -> Survey:
    """The first folder that holds all original files, or the files that the fullest folder lacks; opens no cube."""
    places = _places(definition, locations)
    if definition.survey is not None:
        return definition.survey(definition, places)
    absent: tuple[str, ...] | None = None
    for folder in places:
        lacking = tuple(file.path for file in definition.facts.files if not (folder / file.path).is_file())
        if not lacking:
            return Survey(definition=definition, folder=folder)
        if absent is None or len(lacking) < len(absent):
            absent = lacking
    return Survey(definition=definition, absent=absent or tuple(file.path for file in definition.facts.files))


def _places(definition: Definition, locations: DataLocations) -> tuple[Path, ...]:
    if definition.folder is not None:
        return (definition.folder,)
    installed = definition.locate() if definition.locate else None
    return tuple(folder for folder in (locations.data_root, locations.fetched, installed) if folder is not None)


def remedy(definition: Definition, name: str) -> str:
    """The command that brings the original files."""
    if definition.remedy:
        return definition.remedy
    if definition.folder is not None:
        return f"correct the paths in {name}, or put the files there"
    if all(file.url for file in definition.facts.files):
        return f"hsfm-sweep data fetch {name}"
    return "put the files below the folder that HSFM_DATA_ROOT or --data-root names"


def _absent_text(absent: tuple[str, ...], places: tuple[Path, ...]) -> str:
    more = f" and {len(absent) - 1} more" if len(absent) > 1 else ""
    return f"file {absent[0]}{more} not found below {' or '.join(map(str, places)) or 'any data root'}"


def _from_module(module: ModuleType) -> Definition:
    if not hasattr(module, "FACTS") or not hasattr(module, "read"):
        raise ConfigError(
            f"module {module.__name__} is no data set: it needs FACTS = DatasetFacts(...) and read(folder)"
        )
    return Definition(
        facts=module.FACTS,
        read=module.read,
        ignored_ids=getattr(module, "IGNORED_IDS", (0,)),
        blocks=getattr(module, "BLOCKS", None),
        folds=getattr(module, "FOLDS", None),
        locate=getattr(module, "locate", None),
        survey=getattr(module, "survey", None),
        archive=getattr(module, "ARCHIVE", None),
        remedy=getattr(module, "REMEDY", ""),
    )
