"""Which MLflow run stands for which key: remembered on disk, so that nothing is searched for key by key."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path

from orchestrator.ledger.spool import replace_file

RUN_IDS_NAME = "run_ids.jsonl"
Target = tuple[str, str]
"""("cell", cell id) or ("run", key)."""


class RunIds:
    """A map from target to MLflow run id, kept in one file of JSON lines."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / RUN_IDS_NAME
        self.exists = self._path.exists()
        self._ids: dict[Target, str] = {}
        content = self._path.read_bytes() if self.exists else b""
        for line in content.split(b"\n")[:-1]:
            try:
                role, key, run_id = json.loads(line)
            except ValueError:
                continue
            self._ids[(role, key)] = run_id
        if content and not content.endswith(b"\n"):
            self.replace(self._ids)  # a crash tore the last line: the next one must not be glued to it

    def get(self, target: Target) -> str | None:
        """The run id, or None where no run was made yet."""
        return self._ids.get(target)

    def targets(self) -> set[Target]:
        """Everything that has a run."""
        return set(self._ids)

    def add(self, found: Mapping[Target, str]) -> None:
        """Remember runs; returns when they are on the disk."""
        new = {target: run_id for target, run_id in found.items() if self._ids.get(target) != run_id}
        if not new:
            return
        self._ids.update(new)
        with self._path.open("ab") as file:
            file.write(_lines(new))
            file.flush()
            os.fsync(file.fileno())

    def replace(self, found: Mapping[Target, str]) -> None:
        """Forget everything and remember `found`: after a rebuild from MLflow."""
        self._ids = dict(found)
        replace_file(self._path, _lines(self._ids))


def _lines(ids: Mapping[Target, str]) -> bytes:
    return b"".join(json.dumps([role, key, run_id]).encode() + b"\n" for (role, key), run_id in ids.items())
