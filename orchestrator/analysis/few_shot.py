"""What a sweep with k labels a class adds to a report: how few labels suffice, and what was published beside it.

Published numbers enter no row, no mean and no choice. What was published on random test pixels stands beside results on
blocks as another test set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from orchestrator.analysis.label_efficiency import efficiencies, shots_words, target_words
from orchestrator.analysis.rows import ComparisonRow
from orchestrator.analysis.wording import label_words, metric_title
from orchestrator.reference.few_shot import METRICS, FewShotRow, few_shot_rows


def few_shot_data(rows: Sequence[ComparisonRow]) -> dict[str, Any] | None:
    """The few-shot part of a comparison as plain data; None where no cell has a budget of k labels a class.

    Args:
        rows: from `summary.compare`.
    """
    if not any(row.budget_kind == "k_shot" for row in rows):
        return None
    found = []
    for entry in efficiencies(rows):
        data = asdict(entry)
        title, details = label_words(entry.strategy_name, entry.strategy)
        words = {"shots_words": shots_words(data), "target_words": target_words(data, metric_title(entry.metric))}
        found.append({**data, "title": title, "details": details, **words})
    return {"metric": rows[0].metric, "efficiency": found, "published": _published(rows)}


def _published(rows: Sequence[ComparisonRow]) -> list[dict[str, Any]]:
    """One entry a scene and number of labels a class that was both asked for and published on."""
    metric = rows[0].metric
    if metric not in METRICS:
        return []
    asked: dict[tuple[str, float], list[ComparisonRow]] = {}
    for row in rows:
        if row.budget_kind == "k_shot" and row.budget_value is not None:
            asked.setdefault((row.dataset, row.budget_value), []).append(row)
    found = []
    for (dataset, shots), members in asked.items():
        lines = [
            one
            for one in few_shot_rows()
            if (one.dataset, one.labels_per_class) == (dataset, shots) and metric in one.values
        ]
        if lines:
            splits = sorted({row.split or "" for row in members})
            panel = {
                "dataset": dataset,
                "dataset_title": lines[0].dataset_title,
                "labels_per_class": int(shots),
                "label_budget": members[0].label_budget,
                "splits": splits,
                "same_test_pixels": [one for one in splits if one == lines[0].test_pixels],
                "test_pixels": lines[0].test_pixels,
                "lines": [_line(one, metric) for one in sorted(lines, key=lambda one: -one.values[metric])],
            }
            found.append(panel | {"beside": _beside(panel)})
    return found


def _line(row: FewShotRow, metric: str) -> dict[str, Any]:
    return {
        "method": row.method,
        "value": row.values[metric] / 100,
        "spread": row.oa_spread / 100 if metric == "oa" else None,
        "draws": row.draws,
        "pretrained_on": row.source,
        "flags": list(row.flags),
        "warnings": list(row.warnings),
        "copied": row.copied,
        "source": row.title if row.paper in row.title else f"{row.title} ({row.paper})",
    }


def _beside(panel: Mapping[str, Any]) -> str:
    """How the published test pixels stand to ours."""
    others = [split for split in panel["splits"] if split not in panel["same_test_pixels"]]
    kind = {"random": "random test pixels", "contest": "the contest's test pixels"}[panel["test_pixels"]]
    if not panel["same_test_pixels"]:
        return f"{kind}, ANOTHER TEST SET than our {' and '.join(others)} split"
    if others:
        return f"{kind}, as our random split; ANOTHER TEST SET than our {' and '.join(others)} split"
    return f"{kind}, as our random split"
