"""Words for numbers: titles of scores and the notes under every comparison. Computes no score."""

from __future__ import annotations

import re
from collections.abc import Sequence

from orchestrator.analysis.contrasts import count_contrasts, seeds_needed
from orchestrator.analysis.rows import ComparisonRow, Gain

BORDER_PX = 2
"""Test pixels with another class so near count as border (execution/pieces.py; a test holds the two together)."""
METRIC_TITLES = {"miou": "mIoU", "oa": "OA", "aa": "AA", "mean_f1": "mean F1", "kappa": "kappa"}
_INIT_WORDS = {"init=random": "random weights", "init=synthetic": "synthetic weights"}
VERDICT_WORDS = {
    "better": "hold (▲)",
    "worse": "hold the other way (▼)",
    "equivalent": "are equivalent within one point (=)",
    "undecided": "are undecided",
}
MOST_TOLD = 12
"""With more gains than these, only those that hold are told in words; all are in the table."""
VERDICT_MARKS = {"better": "▲", "worse": "▼", "equivalent": "="}
FURTHER_TITLES = {"weighted_f1": "weighted F1", "fw_iou": "weighted IoU", "macro_precision": "precision", "mcc": "MCC"}


def metric_title(name: str) -> str:
    """A score's name for people; a user's own metric keeps its name."""
    return METRIC_TITLES.get(name) or FURTHER_TITLES.get(name, name)


def notes(rows: Sequence[ComparisonRow]) -> list[str]:
    """What a comparison's numbers mean and do not mean, one sentence each; only what applies to these rows."""
    if not rows:
        return ["Nothing was compared: the grid has no cells."]
    found = [
        "Scores are on test labels, scored once a seed with hyperparameters chosen on validation labels; "
        "± is the sample standard deviation over seeds (a seed changes labelled subset, fold and initial weights)."
    ]
    contrasts = count_contrasts(rows)
    if contrasts:
        found.append(
            "gain init: over random weights with the same regime; gain full: over training everything from random "
            "weights; both paired by seed, in points."
        )
        found.extend(_verdicts(rows, contrasts))
    chosen = next((row for row in rows if row.chosen), None)
    if chosen is not None:
        by = f", by {metric_title(chosen.chosen_by)}" if chosen.chosen_by else ""
        found.append(f"* best of its data set and label budget on validation labels{by}; test scores choose nothing.")
    if any(row.init == "synthetic" for row in rows):
        found.append(
            "Synthetic weights (random numbers in a published file's layout) prove the loading path; the score says "
            "nothing about the model, and no such cell is chosen or compared."
        )
    if any(row.split == "random" for row in rows):
        found.append(
            "random split: test pixels lie beside training pixels, so scores are optimistic; kept for comparison "
            "with published numbers only."
        )
    both = _in_both_splits(rows)
    if both:
        found.append(
            f"{', '.join(both)}: the random split and the data set's own split are different test sets; no mean, no "
            "choice and no gain goes across them."
        )
    found.extend(_leaking_splits(rows))
    found.extend(_region_notes(rows))
    if any(row.shared_s for row in rows):
        found.append(
            "device s + shared s: seconds of a cell's own runs, and of the pretrainings and features that it builds "
            "on; the latter are spent once for all cells that share them, and count whole in each of these rows."
        )
    if any(row.normalisation_scope == "scene" for row in rows):
        found.append("normalisation scope 'scene': band statistics saw test pixels; a flagged compatibility mode.")
    if any(row.labels == "derived" for row in rows):
        found.append("Data sets whose labels come from a model are shown and left out of choices and aggregates.")
    made = sorted({row.dataset for row in rows if row.labels == "generated"})
    if made:
        found.append(
            f"GENERATED DATA: the files of {', '.join(made)} were written by `data imitate`; no score on them says "
            "anything about the real data set."
        )
    if any(row.leakage not in (None, "none") for row in rows):
        found.append("leak: pretraining data may or does include the target's sensor or scene; read those rows so.")
    found.extend(_open_cells(rows))
    return found


def _verdicts(rows: Sequence[ComparisonRow], contrasts: int) -> list[str]:
    """Which gains hold, one sentence each, or how many seeds it would take to say so."""
    gains = {
        (
            row.dataset,
            row.label_budget + (", random split" if row.split == "random" else ""),
            row.strategy,
            gain.control,
        ): gain
        for row in rows
        for gain in (row.gain_same_regime, row.gain_full)
        if gain is not None
    }
    judged = {key: gain for key, gain in gains.items() if gain.verdict is not None}
    if not judged:
        return [
            f"No significance is claimed: with {contrasts} contrast{'s' if contrasts > 1 else ''} a paired signed-rank "
            f"test with Holm's correction can fall below 0.05 from {seeds_needed(contrasts)} seeds on."
        ]
    found = [
        f"Of {contrasts} gains, by a signed-rank test over seeds with Holm's correction at 0.05: "
        + ", ".join(
            f"{sum(gain.verdict == name for gain in judged.values())} {words}"
            for name, words in VERDICT_WORDS.items()
            if any(gain.verdict == name for gain in judged.values())
        )
        + ". Seeds are draws on these data sets: nothing is said about others."
    ]
    told = ("better", "worse") if len(judged) > MOST_TOLD else tuple(VERDICT_WORDS)
    for (dataset, budget, strategy, control), gain in judged.items():
        if gain.verdict in told and gain.interval is not None:
            low, high = gain.interval
            found.append(
                f"{VERDICT_MARKS.get(gain.verdict, '·')} {dataset}, {budget}: {strategy} {100 * gain.mean:+.1f} points "
                f"over {control} (95% interval {100 * low:+.1f} to {100 * high:+.1f}, p = {gain.p_adjusted:.2g})"
            )
    return found


def verdict_mark(gain: Gain) -> str:
    """A sign behind a gain: holds, holds the other way, equivalent; nothing where it is undecided or not tested."""
    return VERDICT_MARKS.get(gain.verdict or "", "")


def strategy_words(row: ComparisonRow) -> tuple[str, str]:
    """A strategy in two lines: its name, then family, regime and whatever else its label fixes."""
    return label_words(row.strategy_name, row.strategy)


def label_words(strategy_name: str, label: str) -> tuple[str, str]:
    """`strategy_words` of a strategy by its name and its label."""
    family, _, title = strategy_name.rpartition("/")
    # a value may hold commas, as rgb_bands=14,7,0 does
    fixed = [part for part in re.split(r",(?=\w+=)", label.partition("[")[2].rstrip("]")) if part]
    words = [family] if family else []
    # what tells a model from its control comes first: long names are cut
    for part in sorted(fixed, key=lambda part: (not part.startswith("regime="), not part.startswith("init="))):
        if part.startswith("regime="):
            words.append(part.removeprefix("regime="))
        else:
            words.append(_INIT_WORDS.get(part, part))
    return title, " · ".join(words)


def number(mean: float, spread: float | None, *, sign: str = "") -> str:
    """A score in hundredths with its spread where it has one: "62.0 ±2.8"."""
    text = f"{100 * mean:{sign}.1f}"
    return text if spread is None else f"{text} ±{100 * spread:.1f}"


def short_count(number: int | None) -> str:
    """A count for a narrow column: 4652008 is "4.65M", 512 is "512", None is "-"."""
    if number is None:
        return "-"
    for limit, unit in ((1_000_000_000, "G"), (1_000_000, "M"), (1_000, "k")):
        if number >= limit:
            return f"{number / limit:.3g}{unit}"
    return str(number)


def _leaking_splits(rows: Sequence[ComparisonRow]) -> list[str]:
    """What the audit found where a strategy sees spectra of test pixels in training."""
    worst: dict[str, float] = {}
    for row in rows:
        share = (row.audit or {}).get("own_spectrum_share") or 0.0
        if share > 0:
            worst[row.dataset] = max(worst.get(row.dataset, 0.0), share)
    return [
        f"Audit of {dataset}: up to {share:.0%} of the test pixels lie inside a training neighbourhood."
        for dataset, share in worst.items()
    ]


def _in_both_splits(rows: Sequence[ComparisonRow]) -> list[str]:
    splits: dict[str, set[bool]] = {}
    for row in rows:
        splits.setdefault(row.dataset, set()).add(row.split == "random")
    return [dataset for dataset, found in splits.items() if len(found) > 1]


def _region_notes(rows: Sequence[ComparisonRow]) -> list[str]:
    if all(row.oa_border is None for row in rows):
        return []
    return [
        f"border and interior: overall accuracy of the test pixels within {BORDER_PX} px of another class, and of all "
        "others; a method that is good at edges gains in the first."
    ]


def _open_cells(rows: Sequence[ComparisonRow]) -> list[str]:
    """Cells without a mean, grouped by reason."""
    reasons: dict[tuple[str, str], int] = {}
    for row in rows:
        if row.state != "complete":
            reasons[row.state, row.reason] = reasons.get((row.state, row.reason), 0) + 1
    return [
        f"{count} cell{'s' if count > 1 else ''} {state}{f': {reason}' if reason else ''}"
        for (state, reason), count in reasons.items()
    ]
