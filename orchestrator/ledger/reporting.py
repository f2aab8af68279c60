"""What can be reported to the ledger: each call becomes one event in the spool."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from orchestrator.errors import LedgerError
from orchestrator.ledger import limits
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.run_ids import Target

EndState = Literal["finished", "stopped", "failed", "superseded"]
SWEEP_KEY = "sweep"
"""As a key it names the sweep's own run: for artifacts and tags of the whole sweep."""


class Reporting(ABC):
    """The writing half of a ledger. Values are checked here, so that MLflow has nothing to refuse later."""

    @abstractmethod
    def _append(self, kind: str, target: Target, data: Mapping[str, Any], *, birth: bool = False) -> None: ...

    @abstractmethod
    def _require(self, target: Target) -> None: ...

    def ensure_cell(self, cell_id: str, name: str, tags: Mapping[str, str]) -> None:
        """Create the cell's run where there is none; set its tags and RUNNING."""
        own = {"hsfm.role": "cell", "hsfm.cell": cell_id, "hsfm.key": cell_id, "hsfm.cell_name": name}
        data = {"name": name, "tags": limits.checked_tags({**tags, **own}), "birth_tags": {"hsfm.state": "running"}}
        self._append("cell", ("cell", cell_id), data, birth=True)

    def put_slot(self, cell_id: str, record: SlotRecord) -> None:
        """Write down a slot of a cell; the newest record counts."""
        tag, text = limits.slot_tag(record)
        self._append("slot", ("cell", cell_id), {"tag": tag, "record": text, "closed": record.is_closed})

    def set_cell(
        self,
        cell_id: str,
        *,
        state: str | None = None,
        metrics: Mapping[str, float] | None = None,
        tags: Mapping[str, str] | None = None,
    ) -> None:
        """Set what the cell's run shows. State "done" ends it FINISHED, "failed" FAILED, others keep it RUNNING."""
        shown = dict(tags or {})
        if state is not None:
            shown["hsfm.state"] = state
        data = {"tags": limits.checked_tags(shown), "metrics": limits.checked_metrics(metrics or {})}
        if state is None:
            self._append("cell_tags", ("cell", cell_id), data)
        else:
            self._append("cell_state", ("cell", cell_id), {**data, "state": state})

    def start_run(
        self,
        key: str,
        cell_id: str,
        name: str,
        attempt: int,
        slots: Sequence[str],
        tags: Mapping[str, str],
        params: Mapping[str, Any],
    ) -> None:
        """Start the run of a key below its cell, or continue the one that exists: RUNNING again, tags renewed.

        `params` are written once, at creation. `slots` are the slots that the run fills.
        """
        self._require(("cell", cell_id))
        own = {
            "hsfm.role": "run",
            "hsfm.key": key,
            "hsfm.cell": cell_id,
            "hsfm.attempt": str(attempt),
            "hsfm.state": "running",
            "hsfm.slots": ",".join(slots),
        }
        data = {"cell_id": cell_id, "name": name, "tags": limits.checked_tags({**tags, **own})}
        self._append("start", ("run", key), {**data, "params": limits.run_params(params)}, birth=True)

    def log_metrics(self, key: str, step: int, metrics: Mapping[str, float], timestamp_ms: int | None = None) -> None:
        """Add metrics of a run at an optimiser step."""
        data: dict[str, Any] = {"step": int(step), "metrics": limits.checked_metrics(metrics)}
        if timestamp_ms is not None:
            data["timestamp_ms"] = int(timestamp_ms)
        self._append("metrics", _target(key), data)

    def set_tags(self, key: str, tags: Mapping[str, str]) -> None:
        """Set tags of a run."""
        self._append("tags", _target(key), {"tags": limits.checked_tags(tags)})

    def end_run(self, key: str, state: EndState, tags: Mapping[str, str] | None = None) -> None:
        """End a run: finished, stopped (KILLED) or failed; "superseded" is a tag only."""
        shown = limits.checked_tags({**(tags or {}), "hsfm.state": state})
        self._append("end", _target(key), {"state": state, "tags": shown})

    def log_json(self, key: str, artifact_path: str, data: Any) -> None:
        """Write a JSON artifact of a run; `data` is copied into the spool at once, as text: that takes less memory."""
        try:
            text = json.dumps(data, separators=(",", ":"))
        except (TypeError, ValueError) as error:
            raise LedgerError(f"{artifact_path} of {key!r} cannot be written as JSON: {error}") from error
        self._append("json", _target(key), {"path": artifact_path, "text": text})

    def log_file(self, key: str, local_path: Path | str, artifact_dir: str | None = None) -> None:
        """Copy a file or folder into the run's artifacts. It must stay in place until it is copied (see `flush`)."""
        path = Path(local_path).resolve()
        if not path.exists():
            raise LedgerError(f"artifact {path} does not exist")
        self._append("file", _target(key), {"path": str(path), "artifact_dir": artifact_dir})

    def log_input(self, key: str, dataset_name: str, digest: str, context: str) -> None:
        """Name a data set, by name and digest, as what the run used."""
        if len(digest) > limits.DIGEST_LENGTH or len(dataset_name) > limits.DATASET_NAME_LENGTH:
            raise LedgerError(
                f"data set {dataset_name!r} with digest {digest!r} is too long for MLflow: at most "
                f"{limits.DATASET_NAME_LENGTH} and {limits.DIGEST_LENGTH} characters. Shorten the digest."
            )
        self._append("input", _target(key), {"name": dataset_name, "digest": digest, "context": context})


def _target(key: str) -> Target:
    return (SWEEP_KEY, SWEEP_KEY) if key == SWEEP_KEY else ("run", key)
