"""`gc`: judges what lies in a sweep's places, and deletes what nothing needs, while no driver is at work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.api_plan import SweepView, view_sweep
from orchestrator.config import GridConfig, own_storage, storage_of
from orchestrator.config.secrets import mask_secrets
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import ConfigError, SweepError
from orchestrator.ledger.lease import Driver, refusal
from orchestrator.ledger.lock import FolderLock
from orchestrator.ledger.store import Ledger, open_ledger
from orchestrator.ledger.watching import DriverSight
from orchestrator.upkeep.cache_leftovers import in_cache
from orchestrator.upkeep.holder import look
from orchestrator.upkeep.known_runs import KnownRuns, check_same_store, keys_of_others, known_runs
from orchestrator.upkeep.leftovers import Item, Wanted, in_storage, in_sweep_folder
from orchestrator.upkeep.storage import DiskStorage, open_storage, sorted_errors

SCHEMA = 1


@dataclass
class Collected:
    """What was found, and what became of it."""

    name: str
    folder: Path
    driver: str
    """Who drives the sweep, so that nothing is deleted; "" = nobody."""
    items: list[Item]
    protected: frozenset[str]
    """Keys whose models are never deleted."""
    applied: bool = False
    deleted: set[str] = field(default_factory=set)
    problems: dict[str, str] = field(default_factory=dict)
    """What could not be deleted, by path, and why."""

    @property
    def deletable(self) -> list[Item]:
        return [item for item in self.items if item.deletes]

    @property
    def freed_bytes(self) -> int:
        return sum(item.size for item in self.items if item.path in self.deleted)

    def to_data(self) -> dict[str, Any]:
        """Plain data of a stable form, for `--json`."""
        return {
            "schema": SCHEMA,
            "name": self.name,
            "folder": str(self.folder),
            "driver": self.driver or None,
            "applied": self.applied,
            "items": [
                {
                    "kind": item.kind,
                    "path": mask_secrets(item.path),
                    "bytes": item.size,
                    "action": self._action(item),
                    "reason": self.problems.get(item.path, item.reason),
                }
                for item in self.items
            ],
            "totals": {
                "deletable_bytes": sum(item.size for item in self.deletable),
                "kept_bytes": sum(item.size for item in self.items if not item.deletes),
                "freed_bytes": self.freed_bytes,
            },
        }

    def _action(self, item: Item) -> str:
        if item.path in self.deleted:
            return "deleted"
        if item.path in self.problems:
            return "not deleted"
        return "delete" if item.deletes else "keep"


def collect(
    grid: GridConfig,
    locations: DataLocations,
    sweep_root: Path,
    tracking_uri: str | None,
    wanted: Wanted,
    *,
    apply: bool = False,
) -> Collected:
    """Judge everything; with `apply` delete what nothing needs, under the lock that a driver would need.

    Raises:
        ConfigError: there is no such sweep.
        LedgerError: `apply` while a driver holds the sweep, or a ledger that cannot be read.
        ExecutionError: the storage cannot be used.
    """
    folder = sweep_root / grid.name
    ledger = open_ledger(folder, grid.name, tracking_uri=tracking_uri, mode="read")
    condition = look(ledger)
    if not condition.exists:
        raise ConfigError(
            f"there is no sweep {grid.name!r} in {folder}, so it is not known what is needed; allowed: a sweep that "
            "was started; name its folder of sweeps with --out and its store with --tracking-uri"
        )
    sight = condition.sight
    driver = str(sight.driver or "a driver") if sight.is_at_work else ""
    with ExitStack() as stack:
        if apply:
            _lock_out_drivers(stack, ledger, sight)
        view = view_sweep(grid, locations, sweep_root, tracking_uri)
        found = _survey(view, locations, ledger, wanted, driver)
        if apply:
            delete(found)
    return found


def _lock_out_drivers(stack: ExitStack, ledger: Ledger, sight: DriverSight) -> None:
    """Hold the folder's lock until the end, so that no driver starts meanwhile.

    Raises:
        LedgerError: a driver holds the sweep.
    """
    folder = ledger.location.spool_dir
    lock = FolderLock(folder)
    if sight.is_at_work:
        raise refusal(sight.driver or Driver.from_json(lock.holder()), ledger.sweep_name)
    folder.mkdir(parents=True, exist_ok=True)
    if not lock.acquire(Driver.this("").to_json()):
        raise refusal(Driver.from_json(lock.holder()), ledger.sweep_name)
    stack.callback(lock.release)


def _survey(view: SweepView, locations: DataLocations, ledger: Ledger, wanted: Wanted, driver: str) -> Collected:
    check_same_store(ledger)
    shared = view.plan.grid.execution.storage_path
    others = keys_of_others(view.folder.parent, view.plan.name, ledger.location) if shared else {}
    known = known_runs(ledger, view.plan, others)
    items = list(_items(view, known, wanted, shared))
    items += in_cache(locations, {cell.dataset_source for cell in view.plan.cells}, wanted=wanted.cache)
    if driver:
        items = [replace(i, deletes=False, reason=f"{driver} drives the sweep") if i.deletes else i for i in items]
    protected = frozenset({*known.best, *known.open_cells})
    return Collected(name=view.plan.name, folder=view.folder, driver=driver, items=items, protected=protected)


def _items(view: SweepView, known: KnownRuns, wanted: Wanted, shared: str) -> Iterator[Item]:
    # the setting may have changed since: what an earlier start has left in the sweep's own folder counts as well
    places = dict.fromkeys([storage_of(view.plan.grid, view.folder), own_storage(view.folder)])
    for place in places:
        with sorted_errors(place):
            yield from in_storage(open_storage(place), known, wanted, is_shared=place == shared)
    yield from in_sweep_folder(view.folder, known, wanted)


def delete(found: Collected) -> None:
    """Delete what was judged as of no use; a protected model stays whatever the judgement was."""
    found.applied = True
    for item in found.deletable:
        if item.kind in ("model", "unknown run", "run") and _key(item) in found.protected:
            found.problems[item.path] = "the best final of its cell is never deleted"
            continue
        try:
            item.storage.delete(item.entry)
            found.deleted.add(item.path)
        except (OSError, SweepError) as error:
            found.problems[item.path] = f"could not be deleted: {error}"
    _drop_empty_folders([item for item in found.items if item.path in found.deleted])


def _key(item: Item) -> str:
    return item.entry.path.split("/")[0]


def _drop_empty_folders(deleted: Sequence[Item]) -> None:
    """Folders of runs that have nothing left; object stores have no empty folders."""
    for item in deleted:
        parent = item.entry.path.rpartition("/")[0]
        if isinstance(item.storage, DiskStorage) and item.kind in ("checkpoint", "model") and parent:
            item.storage.drop_if_empty(parent)
