"""Published few-shot scores with the flags of their protocol, read from their packaged file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import resources
from typing import Any

import yaml

TABLE = resources.files("orchestrator") / "reference" / "few_shot.yaml"
METRICS = ("oa", "aa", "kappa")
"""Scores of the published table, by the tool's names, in its order."""
FLAGS = (
    *("labels_per_class", "source", "test_pixels", "draws"),
    *("best_test_checkpoint", "transductive", "scene_statistics", "copied"),
)
WORDS: Mapping[str, Mapping[Any, str]] = {
    "test_pixels": {"random": "random pixels", "contest": "contest's pixels"},
    "best_test_checkpoint": {True: "best-test checkpoint", None: "checkpoint rule unknown"},
    "transductive": {True: "transductive"},
    "scene_statistics": {True: "whole-scene statistics"},
    "copied": {True: "copied"},
}


@dataclass(frozen=True, kw_only=True)
class FewShotRow:
    """One published score of a method on a scene."""

    method: str
    dataset: str
    """The tool's name of the scene."""
    dataset_title: str
    values: Mapping[str, float]
    """Mean over the draws by score, in hundredths; what is not published is absent."""
    oa_spread: float
    """Standard deviation of OA over the draws."""
    labels_per_class: int
    source: str
    """Data set that was pretrained on; "none" = trained on the target alone."""
    test_pixels: str
    """random (beside training pixels, they leak) or contest (the contest's own)."""
    draws: int
    best_test_checkpoint: bool | None
    """Whether the checkpoint was chosen on test pixels; None = not established."""
    transductive: bool | None
    scene_statistics: bool | None
    copied: bool
    """Whether the source copied the number from the method's own paper."""
    title: str
    """Of the source of the numbers."""
    address: str
    paper: str

    @property
    def flags(self) -> tuple[str, ...]:
        """The protocol in short words, for tables and figures."""
        found = (words.get(getattr(self, name)) for name, words in WORDS.items())
        return tuple(word for word in found if word)

    @property
    def warnings(self) -> tuple[str, ...]:
        """What makes the score too high, or is not known of it, in words."""
        said = {
            "test pixels lie beside training pixels": self.test_pixels == "random",
            "checkpoint chosen on test pixels": self.best_test_checkpoint,
            "labels spread over the test pixels": self.transductive,
            "normalised with test pixels": self.scene_statistics,
        }
        unknown = "whether the checkpoint was chosen on test pixels is not established"
        return (
            *(words for words, holds in said.items() if holds),
            *([unknown] if self.best_test_checkpoint is None else []),
        )


def few_shot_lines(dataset: str, *, labels_per_class: int, split: str) -> list[FewShotRow]:
    """What was published on a scene with this label budget and this kind of test pixels.

    Args:
        dataset: the tool's name of the scene.
        labels_per_class: labels a class.
        split: the grid's; nothing was published on blocks, so only `random` has lines, and no scene of a contest.
    """
    return [
        row
        for row in few_shot_rows()
        if (row.dataset, row.labels_per_class, row.test_pixels) == (dataset, labels_per_class, split)
    ]


@functools.cache
def few_shot_rows() -> tuple[FewShotRow, ...]:
    """Every published row, in the order of the file."""
    table = yaml.safe_load(TABLE.read_text("utf-8"))
    return tuple(_row(table, given) for given in table["rows"])


def _row(table: Mapping[str, Any], given: Mapping[str, Any]) -> FewShotRow:
    scene = table["scenes"][given["dataset"]]
    flags = {**table["protocol"], **scene, **table["methods"][given["method"]]}
    return FewShotRow(
        method=given["method"],
        dataset=given["dataset"],
        dataset_title=scene["title"],
        values={name: float(given[name]) for name in METRICS if name in given},
        oa_spread=float(given["oa_spread"]),
        **{name: flags[name] for name in FLAGS},
        **table["source"],
    )
