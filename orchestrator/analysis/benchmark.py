"""What a sweep by a benchmark's protocol adds: who closes the gap to RGB pretraining, and what was published.

Published numbers stand beside ours, with their protocol; they enter no row, no mean and no choice.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from orchestrator.analysis.contrasts import sample_spread
from orchestrator.analysis.rows import ComparisonRow
from orchestrator.reference import (
    GENERATED,
    METRICS,
    PublishedRow,
    benchmark_protocols,
    family_of,
    published_rows,
    reference_lines,
)

SIDES = ("in_domain", "cross_modality", "cross_domain")
"""Transfers that the main table compares; a random-weights control is trained in domain, so it counts there."""
WORDS = {"in_domain": "in-domain", "cross_modality": "cross-modality", "cross_domain": "cross-domain"}
SMALLEST_DIFFERENCE = 1e-9


def benchmark_data(rows: Sequence[ComparisonRow], table: pa.Table, protocol: str) -> dict[str, Any] | None:
    """The benchmark's part of a report as plain data; None where the sweep follows none of its protocols.

    Args:
        rows: from `summary.compare`.
        table: the results table that they come from.
        protocol: the grid's.
    """
    if protocol not in benchmark_protocols() or not rows:
        return None
    return {
        "protocol": protocol,
        "metric": rows[0].metric,
        "main": main_table(rows),
        "compat": compat_differences(rows, table),
        "published": _published(rows, protocol),
    }


def main_table(rows: Sequence[ComparisonRow]) -> list[dict[str, Any]]:
    """One line a data set and label budget: the best of each transfer by validation, gains, and the share closed."""
    groups: dict[tuple[str, str, str], list[ComparisonRow]] = {}
    for row in rows:
        if row.init != "synthetic":
            groups.setdefault(row.group, []).append(row)
    return [_main_line(dataset, budget, members) for (dataset, budget, _), members in groups.items()]


def _main_line(dataset: str, budget: str, members: Sequence[ComparisonRow]) -> dict[str, Any]:
    found = {side: _best([row for row in members if row.transfer == side], WORDS[side]) for side in SIDES}
    best = {side: row for side, (row, _) in found.items()}
    line: dict[str, Any] = {
        "dataset": dataset,
        "label_budget": budget,
        "warning": "; ".join(_warnings(members)),
    }
    for side in SIDES:
        row, reason = found[side]
        line[side] = {"strategy": row and row.strategy, "mean": row and row.mean, "reason": reason}
    line["gain_cross_modality"] = _gain(best["cross_modality"], best["in_domain"])
    line["gain_cross_domain"] = _gain(best["cross_domain"], best["in_domain"])
    line["gap_left"] = _gain(best["cross_modality"], best["cross_domain"])
    reasons = [reason for side in SIDES if (reason := found[side][1])]
    line["share_closed"], line["reason"] = None, "; ".join(reasons)
    gap, gain = line["gain_cross_modality"], line["gain_cross_domain"]
    if gap is not None and gain is not None:
        if gap["mean"] > 0:
            line["share_closed"] = gain["mean"] / gap["mean"]
        else:
            line["reason"] = "cross-modality is not above in-domain: there is no gap to close"
    return line


def _warnings(members: Sequence[ComparisonRow]) -> list[str]:
    found = [GENERATED] if any(row.labels == "generated" for row in members) else []
    return [*found, *(["random split: it leaks"] if members[0].split == "random" else [])]


def _best(rows: Sequence[ComparisonRow], words: str) -> tuple[ComparisonRow | None, str]:
    """The row that validation chooses, else why there is none: a part of the cells must not stand for all."""
    can_run = [row for row in rows if row.state != "blocked"]
    if not rows:
        return None, f"no {words} cell"
    if not can_run:
        return None, f"every {words} cell is blocked"
    unfinished = sum(row.mean is None or row.validation_mean is None for row in can_run)
    if unfinished:
        return None, f"{unfinished} of {len(can_run)} {words} cells not complete"
    return max(can_run, key=lambda row: row.validation_mean or 0.0), ""


def _gain(row: ComparisonRow | None, base: ComparisonRow | None) -> dict[str, Any] | None:
    """Difference of two rows, paired by seed."""
    if row is None or base is None:
        return None
    differences = [row.values[seed] - base.values[seed] for seed in row.values if seed in base.values]
    if not differences:
        return None
    return {"mean": float(np.mean(differences)), "spread": sample_spread(differences), "pairs": len(differences)}


def compat_differences(rows: Sequence[ComparisonRow], table: pa.Table) -> list[dict[str, Any]]:
    """Complete cells whose scores differ between the tool's convention and the papers', as means over seeds."""
    if "test_compat_aa" not in table.column_names:
        return []
    names = [*(f"test_{name}" for name in METRICS), *(f"test_compat_{name}" for name in METRICS)]
    by_cell: dict[str, list[Mapping[str, Any]]] = {}
    for run in table.select(["cell_id", "stage", "state", *names]).to_pylist():
        if run["stage"] == "final" and run["state"] == "finished" and run["test_compat_aa"] is not None:
            by_cell.setdefault(run["cell_id"], []).append(run)
    found = []
    for row in rows:
        runs = by_cell.get(row.cell_id or "", [])
        if row.state != "complete" or not runs:
            continue
        means = {name: float(np.mean([run[name] for run in runs])) for name in names}
        own = {name: means[f"test_{name}"] for name in METRICS}
        compat = {name: means[f"test_compat_{name}"] for name in METRICS}
        if any(abs(own[name] - compat[name]) > SMALLEST_DIFFERENCE for name in METRICS):
            cell = {"strategy": row.strategy, "dataset": row.dataset, "label_budget": row.label_budget}
            found.append({**cell, "own": own, "compat": compat})
    return found


def _published(rows: Sequence[ComparisonRow], protocol: str) -> list[dict[str, Any]]:
    """Published scores of the data sets of a sweep; only those of the very protocol and data are to be drawn."""
    metric = rows[0].metric
    generated = {row.dataset for row in rows if row.labels == "generated"}
    found = []
    near = [row for row in published_rows() if row.source.protocol in benchmark_protocols() and metric in row.values]
    for dataset in dict.fromkeys(row.dataset for row in rows):
        same = reference_lines(dataset, protocol)
        found += [
            _line(row, dataset, metric, is_drawn=row in same, is_generated=dataset in generated)
            for row in near
            if row.family == family_of(dataset)
        ]
    return found


def _line(published: PublishedRow, dataset: str, metric: str, *, is_drawn: bool, is_generated: bool) -> dict[str, Any]:
    return {
        "dataset": dataset,
        "row": published.name,
        "label": published.label,
        "value": published.values[metric] / 100,
        "protocol": published.source.protocol,
        "year": published.source.year,
        "source": published.source.address,
        "note": published.inconsistent,
        "is_drawn": is_drawn,
        "warning": GENERATED if is_generated else "",
    }
