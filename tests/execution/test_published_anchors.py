"""Numbers of others that this tool must reproduce: classical baselines on random pixels of Indian Pines.

The protocol: 5 labels a class, all other labelled pixels are test, z-scores over the scene, 10 draws, hyperparameters
by cross-validation on the labels. Published beside it is the leak of that protocol, which the audit must find again.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from orchestrator import api
from orchestrator.execution.estimators import run_estimator
from orchestrator.plan.slots import final_spec
from strategies.registry import get_strategy

TOLERANCE = 0.015
ANCHORS = {"in_domain/svm_rbf": 0.454, "in_domain/box_filter_logistic": 0.610}
"""Mean overall accuracy of 10 other draws under the same protocol."""


@pytest.fixture(scope="module")
def anchor_runs(indian_pines: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[dict[str, Any]]]:
    """All final runs of the packaged grid, by strategy, without Ray."""
    folder = tmp_path_factory.mktemp("anchor")
    monkey = pytest.MonkeyPatch()
    monkey.setenv("HSFM_CACHE", str(indian_pines.parent.parent))
    runs: dict[str, list[dict[str, Any]]] = {}
    for planned in api.plan("indian_pines_anchor", root=folder).cells:
        for seed in range(planned.seeds):
            spec = final_spec(planned, seed, {})
            job = {"prepared_path": str(indian_pines), "storage": str(folder), "until_step": 1}
            event = run_estimator(spec, job, get_strategy(spec.strategy)(**spec.fields))
            runs.setdefault(spec.strategy, []).append(event)
    monkey.undo()
    return runs


@pytest.mark.parametrize("strategy", sorted(ANCHORS))
def test_overall_accuracy_is_within_a_point_and_a_half_of_the_published_mean(
    strategy: str, anchor_runs: dict[str, list[dict[str, Any]]]
) -> None:
    accuracies = [event["scores"]["test/oa"] for event in anchor_runs[strategy]]
    assert len(accuracies) == 10
    assert np.mean(accuracies) == pytest.approx(ANCHORS[strategy], abs=TOLERANCE)


def test_the_audit_beside_it_finds_the_leak_of_the_random_split(
    anchor_runs: dict[str, list[dict[str, Any]]],
) -> None:
    audits = [event["evaluation"]["audit"] for event in anchor_runs["in_domain/box_filter_logistic"]]
    assert np.mean([a["overlapping_footprint_share"] for a in audits]) == pytest.approx(0.67, abs=0.03)
    assert np.mean([a["own_spectrum_share"] for a in audits]) == pytest.approx(0.32, abs=0.03)
