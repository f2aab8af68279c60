"""Turns a batch of spooled events into as few MLflow calls as possible: one create, one log, one status a run.

Inside a batch only the newest value of a tag and the newest status count; metrics and artifacts all do. Every call can
be repeated: a run that exists is found by its id or its key, MLflow drops a metric that it has, tags are overwritten.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from orchestrator.ledger import limits
from orchestrator.ledger.mlflow_store import MetricPoint, MlflowStore, WriteRefusedError
from orchestrator.ledger.run_ids import RunIds, Target
from orchestrator.ledger.spool import Event

STOP_REASON_TAG = "hsfm.stop_reason"
PARENT_TAG = "mlflow.parentRunId"
END_STATUS = {"finished": "FINISHED", "stopped": "KILLED", "failed": "FAILED"}
CELL_STATUS = {"done": "FINISHED", "failed": "FAILED"}


@dataclass
class RunChanges:
    """What a batch of events does to one MLflow run."""

    target: Target
    events: list[Event] = field(default_factory=list)
    birth: Event | None = None
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    metrics: list[MetricPoint] = field(default_factory=list)
    status: str | None = None
    status_time_ms: int = 0
    extras: list[Event] = field(default_factory=list)

    def add(self, event: Event) -> None:
        """Take one more event into account."""
        self.events.append(event)
        data = event.data
        self.tags.update(data.get("tags", {}))
        if event.kind in ("cell", "start"):
            self.birth = self.birth or event
            self._set_status("RUNNING", event)
        elif event.kind == "slot":
            self.tags[data["tag"]] = data["record"]
            if not data["closed"]:
                self._set_status("RUNNING", event)
        elif event.kind == "cell_state":
            self._set_status(CELL_STATUS.get(data["state"], "RUNNING"), event)
        elif event.kind == "end" and data["state"] in END_STATUS:
            self._set_status(END_STATUS[data["state"]], event)
        elif event.kind in ("json", "file", "input"):
            self.extras.append(event)
        step, time_ms = data.get("step", 0), data.get("timestamp_ms", event.time_ms)
        self.metrics.extend(MetricPoint(key, value, time_ms, step) for key, value in data.get("metrics", {}).items())

    def _set_status(self, status: str, event: Event) -> None:
        self.status, self.status_time_ms = status, event.time_ms


def gather(events: Iterable[Event]) -> list[RunChanges]:
    """Changes by run: runs before cells, so that whoever sees a closed slot sees the finished run as well."""
    changes: dict[Target, RunChanges] = {}
    for event in events:
        target: Target = (event.data["role"], event.data["id"])
        changes.setdefault(target, RunChanges(target)).add(event)
    return sorted(changes.values(), key=lambda change: change.target[0] == "cell")


class Applier:
    """Writes changes to MLflow."""

    def __init__(self, store: MlflowStore, ids: RunIds) -> None:
        self._store = store
        self._ids = ids
        self._status: dict[str, str] = {}
        self.unsure = False
        """Whether a run may have been created whose id never came back: then look before creating."""

    def note_status(self, run_id: str, status: str) -> None:
        """Someone else has set this run's status."""
        self._status[run_id] = status

    def sync(self) -> None:
        """Wait until what was written is on the disk."""
        self._store.sync()

    def find_created(self, events: Sequence[Event]) -> None:
        """One search for the runs that these events would create and that exist already."""
        births = [
            e for e in events if e.kind in ("cell", "start") and self._ids.get((e.data["role"], e.data["id"])) is None
        ]
        if births:
            since = min(event.time_ms for event in births)
            self._ids.add(runs_by_target(self._store, f"attributes.start_time >= {since}"))
        self.unsure = False

    def apply(self, events: Sequence[Event]) -> None:
        """Write a batch.

        Raises:
            StoreAwayError: repeat the whole batch later.
            WriteRefusedError: MLflow refuses one of the events.
        """
        if self.unsure:
            self.find_created(events)
        changes = gather(events)
        # Cells first: a run needs its parent's id.
        for change in sorted(changes, key=lambda c: c.target[0] != "cell"):
            if change.birth is not None:
                self._create(change, change.birth)
        for change in changes:
            self._write(change)

    def _create(self, change: RunChanges, birth: Event) -> None:
        run_id = self._ids.get(change.target)
        params = birth.data.get("params", {})
        if run_id is None:
            tags = {**birth.data.get("birth_tags", {}), **birth.data["tags"]}
            if change.target[0] == "run":
                tags[PARENT_TAG] = self._run_id(("cell", birth.data["cell_id"]))
            self.unsure = True
            run_id = self._store.create_run(birth.data["name"], tags, birth.time_ms)
            self._ids.add({change.target: run_id})
            self.unsure = False
            self._status[run_id] = "RUNNING"
            change.params = params
            change.tags = {name: value for name, value in change.tags.items() if tags.get(name) != value}
        else:
            found = self._store.get_run(run_id).data
            if params and limits.HYPERPARAMETERS not in found.params:
                change.params = params  # created just before a crash or an outage, without its params
            if found.tags.get(STOP_REASON_TAG):
                change.tags.setdefault(STOP_REASON_TAG, "")  # it goes on: the reason no longer holds

    def _run_id(self, target: Target) -> str:
        run_id = self._ids.get(target)
        if run_id is None:
            raise WriteRefusedError(f"there is no MLflow run for {target[0]} {target[1]}")
        return run_id

    def _write(self, change: RunChanges) -> None:
        run_id = self._run_id(change.target)
        for event in change.extras:
            data = event.data
            if event.kind == "json":
                self._store.log_text(run_id, data["path"], data["text"])
            elif event.kind == "file":
                self._store.log_file(run_id, data["path"], data["artifact_dir"])
            else:
                self._store.log_input(run_id, data["name"], data["digest"], data["context"])
        self._store.log(run_id, change.tags, change.metrics, change.params)
        if change.status is not None and self._status.get(run_id) != change.status:
            self._store.set_status(run_id, change.status, change.status_time_ms)
            self._status[run_id] = change.status


def runs_by_target(store: MlflowStore, condition: str) -> dict[Target, str]:
    """Ids of the cells' and the runs' MLflow runs that meet a filter; of two for one key the older counts."""
    found: dict[Target, str] = {}
    for run in store.search(condition):
        tags = run.data.tags
        role = tags.get("hsfm.role", "")
        name = tags.get("hsfm.cell" if role == "cell" else "hsfm.key", "")
        if role in ("cell", "run") and name:
            found.setdefault((role, name), run.info.run_id)
    return found
