"""One training, as data, and its identity.

`RunSpec.key` is a content hash over an explicit allow-list: every field of `RunSpec`. What must not be in the key
(paths, hosts, devices, placement, logging, time) is not a field, so it cannot get in by accident.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal

from orchestrator.plan.cells import LabelBudget

Stage = Literal["pretrain", "features", "search", "final"]
KEY_LENGTH = 16


def canonical(value: Any) -> Any:
    """The same question in the same form: whole-number floats become ints, tuples lists, keys sorted.

    Raises:
        TypeError: a value that JSON cannot hold.
        ValueError: NaN or infinity.
    """
    if isinstance(value, Mapping):
        return {str(k): canonical(value[k]) for k in sorted(value, key=str)}
    if isinstance(value, list | tuple):
        return [canonical(v) for v in value]
    if isinstance(value, float):
        if value != value or value in (float("inf"), float("-inf")):
            raise ValueError(f"{value!r} cannot be part of a key")
        return int(value) if value == int(value) else value
    if value is None or isinstance(value, str | int):
        return value
    raise TypeError(f"{type(value).__name__} cannot be part of a key")


def content_hash(value: Any) -> str:
    """First 16 hex digits of the SHA-256 of the canonical JSON of `value`."""
    text = json.dumps(canonical(value), sort_keys=True, separators=(",", ":"), ensure_ascii=True, allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:KEY_LENGTH]


@dataclass(frozen=True, kw_only=True)
class RunSpec:
    """One training: everything that changes its numbers, and nothing else."""

    strategy: str
    """Registry name, for example cross_domain/spectf."""
    fields: Mapping[str, Any]
    """Every field of the strategy, resolved, the drawn hyperparameters among them."""
    dataset: str
    dataset_digest: str
    split: str
    """block, random or images."""
    fold: int
    label_budget: LabelBudget
    selection: str
    """Where validation labels come from: validation_matched, validation_full, held_out_shots,
    leave_one_scene_out or none."""
    stage: Stage
    seed: int
    """Fixes initialisation, batch order and augmentation, in separate streams."""
    subset_seed: int
    """Fixes the labelled subset; search and final use different ones."""
    train: Mapping[str, Any]
    """`TrainConfig` resolved for this strategy: batch size, patch size, normalisation, world size and the rest."""
    metric: str
    """The validation score that picks the checkpoint."""
    weights_sha256: str | None = None
    implementation: Mapping[str, int] = field(default_factory=dict)
    """Implementation versions of strategy, reader, sampler, training loop and metrics."""
    depends_on: tuple[str, ...] = ()
    """Keys of pretrain or features runs that this one builds on."""

    def plain(self) -> dict[str, Any]:
        """All fields as plain data; nested values are shared, not copied."""
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        return {**values, "label_budget": dict(vars(self.label_budget))}

    @cached_property
    def key(self) -> str:
        return content_hash(self.plain())

    def to_json(self) -> dict[str, Any]:
        """Plain data that `from_json` turns back into an equal spec."""
        return canonical(self.plain())

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> RunSpec:
        values = dict(data)
        values["label_budget"] = LabelBudget(
            **{**values["label_budget"], "value": float(values["label_budget"]["value"])}
        )
        values["depends_on"] = tuple(values.get("depends_on", ()))
        return cls(**values)
