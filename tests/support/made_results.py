"""Runs with made-up numbers, in the ledger's own form, for tests of what is computed and shown from them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from orchestrator.analysis.expected import ExpectedCell
from orchestrator.ledger.records import RunRow
from orchestrator.metrics import scores

EFFNET = "cross_modality/efficientnet_lite0"
CLASS_NAMES = ("corn", "<script>alert(1)</script>", "wood & hay")


def confusion(correct: float, per_class: int = 100) -> list[list[int]]:
    """A 3-class matrix in which a share `correct` of each class is right and the rest goes to the next class."""
    right = round(correct * per_class)
    matrix = [[0, 0, 0] for _ in range(3)]
    for index in range(3):
        matrix[index][index] = right
        matrix[index][(index + 1) % 3] = per_class - right
    return matrix


def made_run(
    strategy: str,
    *,
    correct: float = 0.8,
    dataset: str = "indian_pines",
    budget: str = "10%",
    seed: int = 0,
    stage: str = "final",
    state: str = "finished",
    tags: Mapping[str, str] | None = None,
    has_regions: bool = False,
    evaluation: Mapping[str, Any] | None = None,
) -> RunRow:
    """A run whose scores follow from a confusion matrix with a share `correct` on the diagonal."""
    name, _, fields = strategy.partition("[")
    given = dict(part.split("=") for part in fields.rstrip("]").split(",") if "=" in part)
    is_pretrained = not name.startswith("in_domain") and given.get("init") != "random"
    split = (tags or {}).get("hsfm.split", "block")
    cell = f"{strategy}|{dataset}|{budget}" + ("" if split == "block" else f"|{split}")
    matrix = confusion(correct)
    numbers = scores(matrix, range(3))
    regions = {"test/oa_border": numbers["oa"] - 0.1, "test/oa_interior": numbers["oa"] + 0.02} if has_regions else {}
    is_final = stage == "final" and state == "finished"
    metrics = {f"val/{key}": value - 0.01 for key, value in numbers.items()} | {"cost/device_s": 12.5}
    if is_final:
        metrics |= {f"test/{key}": value for key, value in numbers.items()} | regions
        metrics |= {"labels/train": 224.0 if budget == "10%" else 60.0, "labels/validation": 56.0}
        metrics |= {"labels/classes_trained": 3.0}
    all_tags = {
        "hsfm.cell": cell,
        "hsfm.cell_name": cell,
        "hsfm.strategy": strategy,
        "hsfm.strategy_name": name,
        "hsfm.family": name.split("/")[0],
        "hsfm.regime": given.get("regime", "full"),
        "hsfm.init": "pretrained" if is_pretrained else "random",
        "hsfm.transfer": "cross_modality" if is_pretrained else "in_domain",
        "hsfm.leakage": "none",
        "hsfm.dataset": dataset,
        "hsfm.labels": "human",
        "hsfm.label_budget": budget,
        "hsfm.seed": str(seed),
        "hsfm.fold": "0",
        "hsfm.attempt": "1",
        "hsfm.split": "block",
        "hsfm.normalisation_scope": "train",
        "hsfm.selection": "validation_matched",
        "hsfm.parameters_total": "4652008",
        "hsfm.parameters_trained": "12345",
        "hsfm.bands_used": "200",
        "hsfm.git_commit": "0123456789abcdef",
        "hsfm.git_dirty": "false",
        "hsfm.optional": "false",
        "hsfm.versions": '{"hsfm-sweep": "0.1.0", "torch": "2.14.1"}',
        "hsfm.dataset_digest": "feedfacecafebeef",
        **(tags or {}),
    }
    found = evaluation or {
        "class_names": list(CLASS_NAMES),
        "scored_classes": [0, 1, 2],
        "headline_classes": None,
        "units": [{"name": "block 0", "confusion": matrix}],
        "train_labels": 224,
        "validation_labels": 56,
        "classes_trained": 3,
        "audit": {"own_spectrum_share": 0.0, "overlapping_footprint_share": 0.25, "buffer_px": 4, "leaks": False},
    }
    return RunRow(
        run_id=f"{cell}|{stage}|{seed}",
        key=f"key-{cell}-{stage}-{seed}",
        cell_id=cell,
        slots=(f"{stage}/{seed}",),
        stage=stage,
        state=state,
        tags=all_tags,
        params={"learning_rate": "0.001"},
        metrics=metrics,
        evaluation=found if is_final else None,
    )


def made_cell(strategy: str, correct: Sequence[float], **settings: Any) -> list[RunRow]:
    """Final runs of one cell, a seed for each share of correct pixels, and one stopped trial."""
    finals = [made_run(strategy, correct=share, seed=seed, **settings) for seed, share in enumerate(correct)]
    return [*finals, made_run(strategy, seed=10000, stage="search", state="stopped", **settings)]


def made_sweep() -> list[RunRow]:
    """Two budgets; in-domain strategies, a pretrained one in two regimes with both controls, a derived data set."""
    shares = {
        "in_domain/svm_rbf": (0.70, 0.72),
        "in_domain/unet": (0.65, 0.71),
        f"{EFFNET}[regime=frozen]": (0.75, 0.78),
        f"{EFFNET}[regime=full]": (0.80, 0.81),
        f"{EFFNET}[init=random,regime=frozen]": (0.55, 0.50),
        f"{EFFNET}[init=random,regime=full]": (0.79, 0.83),
    }
    rows: list[RunRow] = []
    for strategy, values in shares.items():
        rows += made_cell(strategy, values)
        rows += made_cell(strategy, [v - 0.1 for v in values], budget="5-shot")
    rows += made_cell("in_domain/svm_rbf", (0.95, 0.96), dataset="samson", tags={"hsfm.labels": "derived"})
    return rows


def made_few_shot(
    correct_at: Mapping[str, Mapping[int, Sequence[float]]], *, split: str = "block", dataset: str = "indian_pines"
) -> list[RunRow]:
    """Cells with k labels a class: shares of correct pixels by strategy, k and seed."""
    settings: dict[str, Any] = {"dataset": dataset, "tags": {"hsfm.split": split}, "has_regions": True}
    return [
        run
        for strategy, curve in correct_at.items()
        for shots, shares in curve.items()
        for run in made_cell(strategy, shares, budget=f"{shots}-shot", **settings)
    ]


def made_stage(name: str, *, seed: int = 0, device_s: float = 100.0) -> RunRow:
    """A pretraining that cells share, as the ledger holds it."""
    run = made_run(name, stage="pretrain", dataset="enmap_potsdam", budget="100%", seed=seed)
    stage_id = f"stage {name} {seed}"
    metrics = {"cost/device_s": device_s}
    return replace(run, cell_id=stage_id, run_id=stage_id, key=stage_id, metrics=metrics)


def made_expected(strategy: str = "cross_domain/spectf[regime=lora]", **changes: Any) -> ExpectedCell:
    """A cell that was planned and is blocked, unless `changes` say otherwise."""
    values: dict[str, Any] = {
        "cell_id": None,
        "strategy": strategy,
        "strategy_name": strategy.partition("[")[0],
        "regime": "lora",
        "init": "pretrained",
        "dataset": "indian_pines",
        "label_budget": "10%",
        "transfer": "cross_scene",
        "leakage": "none",
        "split": "block",
        "selection": "validation_matched",
        "seeds": 2,
        "state": "blocked",
        "reason": "needs band centres in nm, and indian_pines has none",
    }
    return ExpectedCell(**(values | changes))
