"""What cells share: device seconds of pretrainings and of extracted features, each told once.

They are in no cell's own device seconds, and a strategy that needs them costs them all the same.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from orchestrator.analysis.expected import ExpectedCell

SHARED_STAGES = ("pretrain", "features")


@dataclass(frozen=True, kw_only=True)
class SharedStage:
    """The runs of one shared stage: all seeds, folds and parts of it."""

    name: str
    """As the plan names it, without the number of a part: "pretrain of cross_domain/s2former"."""
    stage: str
    dataset: str
    """What it was made from."""
    runs: int
    device_s: float
    """Of all its runs, failed ones included."""
    cells: int | None
    """Cells of the plan that build on at least one of its runs; None where no plan is at hand."""


def stage_seconds(table: pa.Table) -> dict[str, tuple[str, float]]:
    """Stage and device seconds of every shared run of a results table, by its id in the ledger."""
    found: dict[str, tuple[str, float]] = {}
    for run in _runs(table):
        found[run["cell_id"]] = (run["stage"], found.get(run["cell_id"], ("", 0.0))[1] + (run["device_s"] or 0.0))
    return found


def shared_seconds(cell: ExpectedCell, seconds: Mapping[str, tuple[str, float]]) -> dict[str, float]:
    """Device seconds by stage of what a cell builds on, whoever else builds on it.

    Args:
        cell: as it was planned.
        seconds: from `stage_seconds`.
    """
    found: dict[str, float] = {}
    for stage_id in cell.stages:
        if stage_id in seconds:
            stage, spent_s = seconds[stage_id]
            found[stage] = found.get(stage, 0.0) + spent_s
    return found


def shared_stages(table: pa.Table, expected: Sequence[ExpectedCell] | None = None) -> list[SharedStage]:
    """Every shared stage that ran, pretrainings first, seeds and parts of one stage together.

    Args:
        table: from `results_table`.
        expected: the cells of the plan; stages that none of them builds on any more are left out.
    """
    groups: dict[tuple[str, str, str], list[Mapping[str, Any]]] = {}
    asked = None if expected is None else {stage_id for cell in expected for stage_id in cell.stages}
    for run in _runs(table):
        if asked is None or run["cell_id"] in asked:
            name = str(run["strategy"] or run["stage"]).partition(" part ")[0]
            groups.setdefault((run["stage"], name, run["dataset"] or ""), []).append(run)
    return [
        SharedStage(
            name=name,
            stage=stage,
            dataset=dataset,
            runs=len({run["cell_id"] for run in runs}),
            device_s=float(sum(run["device_s"] or 0.0 for run in runs)),
            cells=None if expected is None else _cells(expected, {str(run["cell_id"]) for run in runs}),
        )
        for (stage, name, dataset), runs in sorted(groups.items(), key=lambda item: item[0][0] != "pretrain")
    ]


def _cells(expected: Sequence[ExpectedCell], stage_ids: set[str]) -> int:
    return sum(not stage_ids.isdisjoint(cell.stages) for cell in expected)


def _runs(table: pa.Table) -> list[dict[str, Any]]:
    columns = ["cell_id", "stage", "strategy", "dataset", "device_s"]
    return [run for run in table.select(columns).to_pylist() if run["stage"] in SHARED_STAGES]
