"""Finished cells scored again from their stored confusion matrices: by seed, by image or block, by class."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
from rich import box
from rich.table import Table
from rich.text import Text

from orchestrator.analysis.expected import ExpectedCell
from orchestrator.analysis.intervals import UnitScores, finals_by_cell, unit_scores
from orchestrator.analysis.rows import ComparisonRow
from orchestrator.analysis.scorers import Scorer, headline_classes, unit_counts
from orchestrator.analysis.summary import compare
from orchestrator.analysis.wording import metric_title, number
from orchestrator.metrics import per_class

CLASS_SCORES = ("iou", "f1", "precision", "recall")


@dataclass(frozen=True, kw_only=True)
class RescoredCell:
    """A cell of the comparison with the scores that were asked for."""

    row: ComparisonRow
    """Its factors and state, with the first of the scores."""
    is_asked: bool
    """Whether the grid asks for it as it stands now; else its runs are of another setting or version."""
    scores: Mapping[str, ComparisonRow]
    """By metric: mean, spread and values by seed; the mean is None where the cell is not complete."""
    units: Mapping[str, UnitScores] = field(default_factory=dict)
    """By metric; empty unless it was asked for."""
    classes: Mapping[str, Mapping[str, float | None]] = field(default_factory=dict)
    """`CLASS_SCORES` by class name, mean over seeds; empty where the cell is not complete."""


def rescore_table(
    table: pa.Table,
    scorers: Sequence[Scorer],
    *,
    expected: Sequence[ExpectedCell] | None = None,
    chosen_by: str | None = None,
    by_unit: bool = False,
) -> list[RescoredCell]:
    """Score the finished final runs of a results table.

    Args:
        table: from `results_table`.
        scorers: at least one.
        expected: the cells of the plan, see `summary.compare`; cells that only the ledger knows follow.
        chosen_by: the validation score that marks the best strategy.
        by_unit: also score image by image or block by block, with bootstrap intervals.

    Raises:
        ConfigError: a user's metric failed.
    """
    asked = None if expected is None else len(expected)
    options: dict[str, Any] = {"expected": expected, "chosen_by": chosen_by, "with_earlier": True}
    by_metric = {scorer.name: compare(table, metric=scorer, **options) for scorer in scorers}
    finals = finals_by_cell(table)
    cells = []
    for place, rows in enumerate(zip(*by_metric.values(), strict=True)):
        of_cell = finals.get(rows[0].cell_id or "", [])
        is_complete = any(row.mean is not None for row in rows)
        cells.append(
            RescoredCell(
                row=rows[0],
                is_asked=asked is None or place < asked,
                scores=dict(zip(by_metric, rows, strict=True)),
                units={s.name: unit_scores(of_cell, s) for s in scorers} if by_unit and is_complete else {},
                classes=_class_scores(of_cell) if is_complete else {},
            )
        )
    return cells


def _class_scores(finals: Sequence[Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    found: dict[str, list[dict[str, float]]] = {}
    for run in finals:
        if not run["units"]:
            continue
        scored = per_class(unit_counts(run).sum(axis=0), headline_classes(run))
        for index, name in enumerate(run["class_names"]):
            found.setdefault(name, []).extend([scored[index]] if index in scored else [])
    return {
        name: {score: float(np.mean([one[score] for one in ones])) if ones else None for score in CLASS_SCORES}
        for name, ones in found.items()
    }


def rescored_to_data(name: str, cells: Sequence[RescoredCell]) -> dict[str, Any]:
    """The scores as JSON can hold them; what does not exist is None. Keys are only ever added."""
    return {"schema": 1, "name": name, "cells": [_cell_to_data(cell) for cell in cells]}


def _cell_to_data(cell: RescoredCell) -> dict[str, Any]:
    row = cell.row
    scores: dict[str, Any] = {}
    for name, one in cell.scores.items():
        scores[name] = {
            "mean": one.mean,
            "spread": one.spread,
            "by_seed": {str(seed): value for seed, value in one.values.items()},
        }
        if name in cell.units:
            units = cell.units[name]
            scores[name] |= {"interval": [units.low, units.high], "by_unit": dict(units.by_unit)}
    return {
        "cell_id": row.cell_id,
        "strategy": row.strategy,
        "dataset": row.dataset,
        "label_budget": row.label_budget,
        "split": row.split,
        "state": row.state,
        "reason": row.reason,
        "chosen": row.chosen,
        "asked": cell.is_asked,
        "seeds_expected": row.seeds_expected,
        "scores": scores,
        "classes": {name: dict(values) for name, values in cell.classes.items()},
    }


def scores_table(cells: Sequence[RescoredCell]) -> Table:
    """One table for a terminal: cells x metrics, mean and spread over seeds in hundredths."""
    table = _table("test scores x100, from stored confusion matrices", "strategy", "seeds", *_titles(cells))
    for group in dict.fromkeys(cell.row.group for cell in cells):
        _heading(table, group)
        for cell in (cell for cell in cells if cell.row.group == group):
            numbers = [_number(cell, one.mean, one.spread) for one in cell.scores.values()]
            table.add_row(_name(cell), f"{len(cell.row.values)}/{cell.row.seeds_expected}", *numbers)
    return table


def units_table(cells: Sequence[RescoredCell], metric: str) -> Table:
    """One metric by test image or block: mean, interval, and between which units it lies."""
    columns = ("strategy", "mean", "95% interval", "units", "median unit", "worst unit", "best unit")
    table = _table(f"test {metric_title(metric)} x100 by test image or block", *columns)
    for group in dict.fromkeys(cell.row.group for cell in cells):
        _heading(table, group)
        for cell in (cell for cell in cells if cell.row.group == group):
            table.add_row(*_unit_cells(cell, metric))
    return table


def classes_table(cell: RescoredCell) -> Table:
    """Scores by class of one cell, means over seeds in hundredths."""
    row = cell.row
    title = f"{' · '.join((row.strategy, row.dataset, row.label_budget))}{_split(row)}: test scores x100 by class"
    table = _table(title, "class", *CLASS_SCORES)
    table.min_width = len(title)
    for name, values in cell.classes.items():
        table.add_row(Text(name), *(_short(values[score]) for score in CLASS_SCORES))
    return table


def _unit_cells(cell: RescoredCell, metric: str) -> tuple[Text | str, ...]:
    score, found = cell.scores[metric], cell.units.get(metric)
    mean = _number(cell, score.mean, score.spread)
    if found is None or not found.by_unit:
        return (_name(cell), mean, "-", "-", "-", "-", "-")
    ordered = sorted(found.by_unit, key=lambda name: found.by_unit[name])
    ends = [f"{_short(found.by_unit[name])} {name}" for name in (ordered[0], ordered[-1])]
    interval = "-" if found.low is None else f"{_short(found.low)} to {_short(found.high)}"
    median = _short(float(np.median(list(found.by_unit.values()))))
    return (_name(cell), mean, interval, str(len(ordered)), median, Text(ends[0]), Text(ends[1]))


def _titles(cells: Sequence[RescoredCell]) -> list[str]:
    return [metric_title(name) for name in cells[0].scores] if cells else []


def _table(title: str, first: str, *others: str) -> Table:
    table = Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), header_style="bold")
    table.add_column(first, overflow="fold", min_width=20)
    for name in others:
        table.add_column(name, justify="right")
    return table


def _heading(table: Table, group: tuple[str, str, str]) -> None:
    table.add_section()
    table.add_row(
        Text(", ".join((group[0], group[1], *(["random split"] if group[2] == "random" else []))), style="bold cyan")
    )


def _split(row: ComparisonRow) -> str:
    return ", random split" if row.split == "random" else ""


def _name(cell: RescoredCell) -> Text:
    mark = " *" if cell.row.chosen else ""
    return Text(f"{cell.row.strategy}{mark}{'' if cell.is_asked else ' (earlier)'}")


def _number(cell: RescoredCell, mean: float | None, spread: float | None) -> str:
    """The mean, or why there is none."""
    if mean is not None:
        return number(mean, spread)
    return "undefined" if cell.row.state == "complete" else cell.row.state


def _short(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
