"""Which gains hold: exact p-values, Holm's order, refusals, and verdicts."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from orchestrator.analysis.contrasts import seeds_needed
from orchestrator.analysis.rows import ComparisonRow, Gain
from orchestrator.analysis.significance import holm, interval, signed_rank, with_verdicts
from orchestrator.analysis.wording import notes

ROW = ComparisonRow(
    strategy="cross_domain/x", strategy_name="cross_domain/x", regime="full", init="pretrained", dataset="a",
    labels="human", label_budget="5%", budget_kind="fraction", budget_value=0.05, transfer="cross_domain",
    leakage="none", split="block", selection="validation_matched", cell_id="1", state="complete", metric="miou",
)  # fmt: skip


def row(name: str, differences: list[float]) -> ComparisonRow:
    gain = Gain(
        control=f"{name} control",
        mean=float(np.mean(differences)),
        spread=float(np.std(differences, ddof=1)),
        pairs=len(differences),
        differences=dict(enumerate(differences)),
    )
    return replace(ROW, strategy=name, gain_same_regime=gain, gain_full=gain)


def enumerated(differences: list[float]) -> float:
    """The exact two-sided p-value by trying every sign."""
    ranks = np.argsort(np.argsort(np.abs(differences))) + 1
    found = sum(rank for rank, value in zip(ranks, differences, strict=True) if value > 0)
    sums = [sum(r for r, up in zip(ranks, signs, strict=True) if up) for signs in product((0, 1), repeat=len(ranks))]
    lower, upper = np.mean([s <= found for s in sums]), np.mean([s >= found for s in sums])
    return float(min(1.0, 2 * min(lower, upper)))


def test_the_p_value_is_exact() -> None:
    differences = [0.031, -0.004, 0.052, 0.011, 0.027, 0.063, -0.019, 0.045]
    assert signed_rank(differences) == pytest.approx(enumerated(differences))
    assert signed_rank([0.0, 0.0, 0.0]) == 1.0


def test_holm_keeps_the_order_and_never_lowers_a_p_value() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0]


def test_gains_with_too_few_pairs_get_no_p_value_and_no_verdict() -> None:
    needed = seeds_needed(2)
    few = with_verdicts([row("one", [0.1] * (needed - 1)), row("two", [0.2] * (needed - 1))])
    assert [r.gain_full.verdict for r in few if r.gain_full] == [None, None]
    assert any(f"from {needed} seeds on" in note for note in notes(few))


def test_verdicts_tell_what_holds_from_what_is_equal_and_what_is_open() -> None:
    steps = np.linspace(0.5, 1.5, 10)
    alternating = np.tile([1.0, -1.0], 5)
    found = with_verdicts(
        [
            row("gains", list(0.05 * steps)),
            row("loses", list(-0.05 * steps)),
            row("equals", list(0.002 * steps * alternating)),
            row("unclear", list(0.08 * steps * alternating)),
        ]
    )
    verdicts = {r.strategy: r.gain_same_regime.verdict for r in found if r.gain_same_regime}
    assert verdicts == {"gains": "better", "loses": "worse", "equals": "equivalent", "unclear": "undecided"}
    gain = found[0].gain_same_regime
    assert gain is not None
    assert gain.interval is not None
    assert gain.p_adjusted is not None
    # both controls are one: four tests, not eight
    assert gain.p_adjusted == pytest.approx(4 * 2 / 2**10)
    assert gain.interval[0] < gain.mean < gain.interval[1]
    text = " ".join(notes(found))
    assert "1 hold (▲), 1 hold the other way (▼), 1 are equivalent within one point (=), 1 are undecided" in text
    assert "▲ a, 5%: gains +5.0 points over gains control" in text
    assert "unclear +" not in text


def test_intervals_are_the_same_each_time_and_need_five_pairs() -> None:
    values = [0.01, 0.03, -0.01, 0.02, 0.04]
    assert interval(values) == interval(values)
    assert interval(values[:4]) is None
