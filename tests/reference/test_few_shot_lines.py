"""Published few-shot scores: as printed, with the flags of their protocol, and apart from ours."""

from __future__ import annotations

import pytest

from orchestrator.datasets.registry import list_datasets
from orchestrator.reference import published_rows
from orchestrator.reference.few_shot import FLAGS, few_shot_lines, few_shot_rows
from strategies.registry import list_strategies


def test_rows_are_those_of_the_table() -> None:
    rows = {(row.method, row.dataset): row for row in few_shot_rows()}
    assert len(rows) == len(few_shot_rows()) == 57
    dcfsl = rows["DCFSL", "indian_pines"]
    assert (dcfsl.values, dcfsl.oa_spread) == ({"oa": 64.89, "aa": 75.75, "kappa": 60.36}, 3.5)
    assert rows["CNN-IT", "houston2013"].values == {"oa": 79.58}


def test_every_row_carries_the_flags_of_its_protocol_and_a_source() -> None:
    for row in few_shot_rows():
        assert row.dataset in list_datasets()
        assert all(hasattr(row, flag) for flag in FLAGS)
        assert (row.labels_per_class, row.source) in {(5, "chikusei"), (5, "none")}
        assert row.source == "none" or row.source in list_datasets()
        assert row.address.startswith("https://")
        assert row.draws >= 10
        assert all(0 < value < 100 for value in row.values.values())
        assert row.warnings


@pytest.mark.parametrize(
    ("method", "said"),
    [
        ("DCFSL", ("test pixels lie beside training pixels", "checkpoint chosen on test pixels")),
        ("MIFOMO", ("labels spread over the test pixels",)),
        ("SSRN", ("whether the checkpoint was chosen on test pixels is not established",)),
    ],
)
def test_what_raises_a_score_is_said(method: str, said: tuple[str, ...]) -> None:
    (row,) = [row for row in few_shot_lines("salinas", labels_per_class=5, split="random") if row.method == method]
    assert set(said) <= set(row.warnings)


def test_lines_stand_beside_the_same_labels_and_the_same_kind_of_test_pixels_only() -> None:
    assert len(few_shot_lines("indian_pines", labels_per_class=5, split="random")) == 16
    assert few_shot_lines("indian_pines", labels_per_class=10, split="random") == []
    # nothing was published on blocks, and the contest's pixels are none of our splits
    for split in ("block", "default"):
        assert few_shot_lines("indian_pines", labels_per_class=5, split=split) == []
    assert few_shot_lines("houston2013", labels_per_class=5, split="random") == []


def test_published_methods_are_no_strategies_and_in_no_other_table() -> None:
    methods = {row.method for row in few_shot_rows()}
    assert not methods & {name for strategy in list_strategies() for name in (strategy, strategy.split("/")[1])}
    assert not methods & {row.method for row in published_rows()}
