"""Where the outputs of shared stages lie, and what a run is told of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from orchestrator.errors import FeasibilityError
from orchestrator.execution import checkpoints
from orchestrator.ledger.records import CellRecord
from orchestrator.plan.planned import PlannedCell
from orchestrator.plan.run_spec import RunSpec
from orchestrator.plan.stages import all_stages, stage_id

ENCODER = "pretrained.safetensors"
"""What a pretraining leaves in its run's folder."""
FEATURES = "features"
"""Folder below an extraction's run folder."""
COMPLETE = "complete.json"
"""Written when an extraction is whole."""


def places_of(
    spec: RunSpec, stages: Sequence[RunSpec], prepared: Mapping[str, str], weights: Mapping[str, str]
) -> dict[str, Any]:
    """What a run's job says about places, as far as they are no part of its identity.

    Args:
        spec: the run.
        stages: the shared stages that it builds on.
        prepared: prepared store of each data set.
        weights: file of each checkpoint, by its SHA-256.
    """
    names = [str(name) for name, _ in spec.train["datasets"]] if spec.stage == "pretrain" else [spec.dataset]
    return {
        "prepared_path": prepared[names[-1]],
        "prepared_paths": {name: prepared[name] for name in names},
        "weights_path": weights.get(spec.weights_sha256 or ""),
        "stages": [one.to_json() for one in stages],
    }


def features_folder(storage: str, key: str) -> Path:
    """Folder of an extraction's features; they are memory-mapped, so it is a folder and no object store."""
    return Path(storage) / key / FEATURES


def is_there(storage: str, spec: RunSpec) -> bool:
    """Whether the output of a finished stage still exists (somebody may have made room)."""
    if spec.stage == "pretrain":
        return checkpoints.has_file(storage, spec.key, ENCODER)
    return (features_folder(storage, spec.key) / COMPLETE).is_file()


def check_places(cells: Sequence[PlannedCell], storage: str) -> None:
    """Refuse what could not be read back.

    Raises:
        FeasibilityError: features would go to an object store, where they cannot be memory-mapped.
    """
    if "://" in storage and any(cell.stage == "features" and cell.state != "done" for cell in cells):
        raise FeasibilityError(
            f"execution.storage_path {storage!r} is an object store, and features of frozen backbones are read as "
            "mapped files; allowed: a folder that all nodes share, or train.feature_cache=false"
        )


def reopened(
    cells: Sequence[PlannedCell], records: Mapping[str, CellRecord], storage: str
) -> tuple[list[PlannedCell], dict[str, CellRecord]]:
    """Stages whose output is gone are to be done again, where a cell that is not done builds on them.

    Stages of cells that are done are left out: nothing needs them any more.
    """
    needed = {
        stage_id(one.key)
        for cell in cells
        if cell.stage == "final" and cell.state != "done"
        for one in all_stages(cell)
    }
    needed |= {stage_id(one.key) for cell in cells if str(cell.cell_id) in needed for one in cell.stages}
    kept = [cell for cell in cells if cell.stage == "final" or cell.cell_id in needed]
    known = dict(records)
    for cell in kept:
        record = known.get(str(cell.cell_id))
        if cell.stage == "final" or cell.template is None or record is None or is_there(storage, cell.template):
            continue
        slots = {
            name: one.with_(state="failed", error="its files are gone", reached_step=0)
            if one.state == "finished"
            else one
            for name, one in record.slots.items()
        }
        known[str(cell.cell_id)] = replace(record, slots=slots)
    return kept, known
