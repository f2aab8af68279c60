"""The sweep itself: whether its plan fits, its data and weights are at hand, and what a killed driver has left."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from orchestrator.api_plan import weights_status
from orchestrator.datasets._manifest import prepared_folder, read_manifest
from orchestrator.datasets.registry import definition_at, status
from orchestrator.ledger.store import open_ledger
from orchestrator.plan.choices import instantiate
from orchestrator.plan.provenance import SYNTHETIC, used_weights
from orchestrator.upkeep.findings import Finding, Subject
from orchestrator.upkeep.holder import look


def plan_fits(subject: Subject) -> Iterator[Finding]:
    """Whether a worker group fits."""
    if subject.grid is None:
        return
    made = subject.plan()
    mend = "" if made.is_feasible else "lower train.world_size, execution.cpus_per_worker or execution.groups"
    yield Finding("plan", "ok" if made.is_feasible else "failure", f"{len(made.cells)} cells; {made.feasibility}", mend)


def data_sets(subject: Subject) -> Iterator[Finding]:
    """Each data set of the grid: prepared and whole, or its original files present."""
    if subject.grid is None:
        return
    cells = subject.plan().cells
    for source in dict.fromkeys(cell.dataset_source for cell in cells):
        is_optional = all(cell.optional for cell in cells if cell.dataset_source == source)
        yield _data_set(subject, source, is_optional=is_optional)


def _data_set(subject: Subject, source: str, *, is_optional: bool) -> Finding:
    found = status(source, subject.locations)
    check = f"data set {found.facts.name}"
    if found.digest is not None:
        folder = prepared_folder(definition_at(source, subject.locations), subject.locations.prepared)
        damaged = _damaged(folder)
        if not damaged:
            return Finding(check, "ok", f"prepared in {folder}")
        mend = f"hsfm-sweep data prepare {source}" if found.files_present else found.remedy
        text = f"{damaged} of {folder} is not as it was written; it is prepared again where the originals are at hand"
        return Finding(check, "warning" if found.files_present else "failure", text, mend)
    if found.files_present:
        return Finding(check, "ok", "original files are present; the first run prepares them")
    more = "; only optional cells use it" if is_optional else "; its cells are blocked"
    return Finding(check, "warning" if is_optional else "failure", found.reason + more, found.remedy)


def _damaged(folder: Path) -> str:
    """Name of a stored image whose size is not what was written; "" = none."""
    manifest = read_manifest(folder) or {"images": []}
    for image in manifest["images"]:
        try:
            is_whole = (folder / image["file"]).stat().st_size == image["size_bytes"]
        except OSError:
            is_whole = False
        if not is_whole:
            return str(image["file"])
    return ""


def weights(subject: Subject) -> Iterator[Finding]:
    """Each pretrained checkpoint of the grid, by its checksum."""
    if subject.grid is None:
        return
    used: dict[str, bool] = {}
    for cell in subject.plan().cells:
        name = used_weights(instantiate(cell.cell.strategy))
        if name is not None:
            used[name] = used.get(name, True) and cell.optional
    for name, is_optional in used.items():
        found = weights_status(name, subject.locations)
        if found.path is not None:
            text = "written when a run needs it" if name.startswith(SYNTHETIC) else "the checksum is right"
            yield Finding(f"weights {name}", "ok", f"{found.path}: {text}")
        else:
            yield Finding(f"weights {name}", "warning" if is_optional else "failure", found.reason, found.remedy)


def driver(subject: Subject) -> Iterator[Finding]:
    """Who drives the sweep, what waits in the spool, and what was left RUNNING."""
    if subject.grid is None:
        return
    ledger = open_ledger(subject.folder, subject.grid.name, tracking_uri=subject.tracking_uri, mode="read")
    condition = look(ledger)
    if not condition.exists:
        yield Finding("driver", "ok", f"{subject.grid.name} was not started yet")
        return
    sight, mend = condition.sight, subject.command("reconcile")
    if sight.is_at_work:
        age = sight.heartbeat_age_s
        told = f"; MLflow heard of it {age:.0f} s ago" if age is not None else ""
        yield Finding("driver", "ok", f"{sight.driver} drives the sweep{told}")
        if sight.is_behind:
            text = (
                f"MLflow takes nothing from the driver; {sight.events_waiting} events wait in the spool, none is lost"
            )
            yield Finding(
                "driver and MLflow", "warning", text, "start the MLflow server again; the driver goes on by itself"
            )
        return
    if sight.ending == "died":
        yield Finding("driver", "warning", f"the last driver, {sight.driver}, died without letting go", mend)
    else:
        yield Finding("driver", "ok", "nobody drives the sweep")
    if sight.events_waiting:
        yield Finding("spool", "warning", f"{sight.events_waiting} events wait for MLflow; none is lost", mend)
    if sight.events_refused:
        place = ledger.location.spool_dir / "refused.jsonl"
        text = f"MLflow refused {sight.events_refused} events; they are kept in {place}"
        yield Finding("spool", "warning", text, f"less {place}")
    if condition.running:
        text = f"{condition.running} MLflow runs are RUNNING, but nobody drives the sweep"
        yield Finding("runs", "warning", text, mend)
