"""What a saved model needs beside its weights."""

from __future__ import annotations

from typing import Any

from orchestrator.execution.run_data import RunData
from orchestrator.plan.run_spec import RunSpec


def model_facts(data: RunData, spec: RunSpec) -> dict[str, Any]:
    """What a saved model needs beside its weights to predict on a raw cube: bands, classes, normalisation."""
    facts = data.prepared.facts
    return {
        "strategy": spec.strategy,
        "fields": dict(spec.fields),
        "key": spec.key,
        "num_bands": facts.num_bands,
        "wavelengths_nm": facts.wavelengths_nm,
        "quantity": facts.quantity,
        "scale": facts.scale,
        "dataset": facts.name,
        "dataset_digest": data.prepared.digest,
        "class_names": facts.class_names,
        "class_ids": facts.class_ids,
        "normalisation": data.mode,
        "dropped_bands": facts.dropped_bands,
        "statistics": {
            name: getattr(data.statistics, name).tolist() for name in ("mean_C", "std_C", "minimum_C", "maximum_C")
        },
        "example_HWC": data.example(),
        **({"undefined_output": True} if data.has_undefined else {}),
    }
