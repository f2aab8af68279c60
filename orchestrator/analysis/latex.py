"""The comparison as a LaTeX table (booktabs)."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from orchestrator.analysis.rows import ComparisonRow, Gain
from orchestrator.analysis.wording import metric_title, notes

_ESCAPES = str.maketrans(
    {
        "\\": r"\textbackslash{}",
        "&": r"\&",
        "%": r"\%",
        "$": r"\$",
        "#": r"\#",
        "_": r"\_",
        "{": r"\{",
        "}": r"\}",
        "~": r"\textasciitilde{}",
        "^": r"\textasciicircum{}",
    }
)


def latex_table(rows: Sequence[ComparisonRow]) -> str:
    """A `table` environment for documents that load booktabs. Incomplete cells say so instead of showing a number."""
    metric = metric_title(rows[0].metric) if rows else "score"
    lines = [
        r"\begin{table}",
        r"\centering",
        r"\begin{tabular}{llrrrr}",
        r"\toprule",
        rf"Strategy & Labels & {metric} $\times 100$ & Seeds & Gain (init) & Gain (full) \\",
    ]
    for dataset, is_random in dict.fromkeys((row.dataset, row.split == "random") for row in rows):
        heading = escape(dataset) + (", random split (leaks)" if is_random else "")
        lines += [r"\midrule", rf"\multicolumn{{6}}{{l}}{{\textit{{{heading}}}}} \\"]
        lines += [_line(row) for row in rows if (row.dataset, row.split == "random") == (dataset, is_random)]
    caption = " ".join(escape(note) for note in notes(rows)).replace("±", r"$\pm$")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", rf"\caption{{{caption}}}", r"\end{table}", ""])


def write_latex(rows: Sequence[ComparisonRow], path: Path) -> Path:
    """Write `latex_table` atomically."""
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    unfinished.write_text(latex_table(rows), encoding="utf-8")
    os.replace(unfinished, path)
    return path


def escape(text: str) -> str:
    """`text` with every character that LaTeX would act on made literal."""
    return text.translate(_ESCAPES)


def _line(row: ComparisonRow) -> str:
    score = escape(row.state) if row.mean is None else _number(row.mean, row.spread)
    parts = (escape(row.strategy), escape(row.label_budget), score, str(len(row.values)))
    return " & ".join((*parts, _gain(row.gain_same_regime), _gain(row.gain_full))) + r" \\"


def _gain(gain: Gain | None) -> str:
    return "--" if gain is None else _number(gain.mean, gain.spread, sign="+")


def _number(mean: float, spread: float | None, sign: str = "") -> str:
    text = f"{100 * mean:{sign}.1f}"
    return f"${text}$" if spread is None else rf"${text} \pm {100 * spread:.1f}$"
