"""Fit one strategy that is no network (scikit-learn): one segment, on rank 0, while other ranks wait."""

from __future__ import annotations

import time
from typing import Any

import numpy as np

from orchestrator.execution.evaluation import count_units, score_test, validation_scores
from orchestrator.execution.model_facts import model_facts
from orchestrator.execution.pieces import IGNORED
from orchestrator.execution.run_data import RunData
from orchestrator.execution.saved_model import save_estimator
from orchestrator.execution.streams import stream_seed
from orchestrator.plan.run_spec import RunSpec


def run_estimator(spec: RunSpec, job: dict[str, Any], strategy: Any) -> dict[str, Any]:
    """Fit on the training labels and score; the event that ends the segment."""
    started = time.perf_counter()
    data = RunData(spec, job["prepared_path"])
    features, labels = _training_set(data, strategy)
    seed = stream_seed(spec.seed, "fit") % 2**31
    model = strategy.fit(features, labels, seed=seed)
    scores: dict[str, float] = {}
    if data.has_validation:
        scores |= validation_scores(_confusion(strategy, model, data, "validation"), data)
        if f"val/{spec.metric}" in scores:
            scores[f"val/best_{spec.metric}"] = scores[f"val/{spec.metric}"]
    ended: dict[str, Any] = {
        "kind": "reached",
        "step": int(job["until_step"]),
        "scores": scores,
        "facts": {
            "parameters_total": None,
            "parameters_trained": None,
            "bands_used": data.prepared.facts.num_bands,
            "device": "cpu",
            "train_labels": data.task.train_count,
            "validation_labels": data.task.validation_count,
            "classes_trained": data.task.classes_trained,
            "best_step": int(job["until_step"]),
        },
    }
    if spec.stage == "final":
        test_scores, evaluation = score_test(
            _confusion(strategy, model, data, "test"), data, strategy.receptive_field_px
        )
        ended |= {"scores": {**scores, **test_scores}, "evaluation": evaluation}
        ended["model_folder"] = save_estimator(
            job["storage"], spec.key, features, labels, {**model_facts(data, spec), "seed": seed}
        )
    ended["seconds"] = time.perf_counter() - started
    return ended


def _training_set(data: RunData, strategy: Any) -> tuple[np.ndarray, np.ndarray]:
    features, labels = [], []
    for image, wanted in enumerate(data.task.train_labels):
        used = wanted != IGNORED
        if used.any():
            everything = slice(None)
            visible = data.task.train_visible[image] & data.prepared.images[image].valid_HW
            features.append(strategy.features(data.normalised(image, everything, everything), visible)[used])
            labels.append(wanted[used].astype(np.int64))
    return np.concatenate(features), np.concatenate(labels)


def _confusion(strategy: Any, model: Any, data: RunData, side: str) -> np.ndarray:
    num_units = data.num_units(side)
    total = np.zeros((num_units, data.num_classes, data.num_classes), dtype=np.int64)
    for piece in data.pieces(side):
        scored = piece.labels_HW != IGNORED
        visible = data.prepared.images[piece.image].valid_HW[piece.rows, piece.columns]
        features = strategy.features(data.normalised(piece.image, piece.rows, piece.columns), visible)[scored]
        predicted = np.asarray(strategy.predict(model, features), dtype=np.int64)
        units = piece.units_HW[scored].astype(np.int64) if side == "test" else np.zeros(len(predicted), dtype=np.int64)
        total += count_units(
            units, piece.labels_HW[scored], predicted, num_units=num_units, num_classes=data.num_classes
        )
    return total
