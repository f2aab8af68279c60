"""From a grid to its cells: strategies x data sets x label budgets, controls added, duplicates merged."""

from __future__ import annotations

import fnmatch
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from orchestrator.config import GridConfig, TrainConfig
from orchestrator.config.loading import block_train
from orchestrator.errors import ConfigError, unknown
from orchestrator.plan.cells import Cell, LabelBudget, StrategyChoice
from orchestrator.plan.choices import WILDCARDS, controls_of, parse_entry
from orchestrator.plan.facts import DatasetStatus
from orchestrator.plan.run_spec import content_hash

CellIdentity = tuple[str, str, LabelBudget, str]
"""What makes two mentions of a cell one: the strategy with its fields, the data set, the label budget, the split."""


class ExpandedCell(NamedTuple):
    """A cell of the grid with what its block says about it."""

    cell: Cell
    optional: bool
    """May be blocked or fail without making the sweep's exit status 1."""
    train: TrainConfig


def expand(grid: GridConfig, known_datasets: Sequence[str] = ()) -> tuple[ExpandedCell, ...]:
    """All cells of `grid` in a stable order: block by block, then data set, strategy, label budget.

    A cell that is listed twice is one cell; it is optional only where every mention is. A control that serves
    two pretrained strategies is one cell with two labels in `control_of`.

    Args:
        grid: a grid with valid values.
        known_datasets: names that a pattern in `datasets`, such as `*`, can mean.

    Raises:
        ConfigError: unknown strategy or field, a label budget that is not allowed, or one cell with two
            different training settings.
    """
    cells: dict[CellIdentity, ExpandedCell] = {}
    for number, (axes, optional, train) in enumerate(_blocks(grid)):
        budgets = [LabelBudget.parse(value) for value in axes["label_budgets"]]
        choices = _with_controls(axes["strategies"], controls=grid.controls)
        for dataset in _datasets(axes["datasets"], known_datasets):
            for identity, choice in choices.items():
                for budget in budgets:
                    cell = Cell(strategy=choice, dataset=dataset, label_budget=budget, split=axes["split"])
                    settings = replace(train, normalisation=choice.normalisation) if choice.normalisation else train
                    _add(cells, (identity, dataset, budget, cell.split), ExpandedCell(cell, optional, settings), number)
    return tuple(cells.values())


def pattern_names(dataset_status: Mapping[str, DatasetStatus]) -> list[str]:
    """The data sets that a pattern in the grid can mean: those known by their own name."""
    return [name for name, found in dataset_status.items() if name == found.facts.name]


def _blocks(grid: GridConfig) -> Iterable[tuple[Mapping[str, Any], bool, TrainConfig]]:
    if grid.strategies:
        yield _axes(grid) | {"split": ""}, False, grid.train
    for index, block in enumerate(grid.blocks):
        # the grid's own split by name is no other split
        split = "" if block.split == grid.split else block.split
        yield _axes(block) | {"split": split}, block.optional, block_train(grid.train, block, f"blocks[{index}]")


def _axes(owner: Any) -> dict[str, Any]:
    return {name: getattr(owner, name) for name in ("strategies", "datasets", "label_budgets")}


def _with_controls(entries: Sequence[Any], *, controls: bool) -> dict[str, StrategyChoice]:
    """Strategies by identity in the order of the grid, each followed by its controls, without duplicates.

    Without `controls` only those are controls that the grid lists itself.
    """
    found: dict[str, StrategyChoice] = {}
    listed = [choice for entry in entries for choice in parse_entry(entry)]
    own = {_identity(choice) for choice in listed}
    for choice in listed:
        for one in (choice, *controls_of(choice)):
            identity = _identity(one)
            if controls or identity in own:
                first = found.get(identity, one)
                # dict.fromkeys keeps the order of the grid and drops repeats
                names = tuple(dict.fromkeys((*first.control_of, *one.control_of)))
                found[identity] = first if names == first.control_of else replace(first, control_of=names)
    return found


def _datasets(entries: Sequence[str], known: Sequence[str]) -> list[str]:
    names: list[str] = []
    for entry in entries:
        if WILDCARDS & set(entry):
            matches = [name for name in known if fnmatch.fnmatchcase(name, entry)]
            if not matches:
                raise unknown("data set pattern", entry, known)
            names.extend(matches)
        else:
            names.append(entry)
    return list(dict.fromkeys(names))


def _add(cells: dict[CellIdentity, ExpandedCell], identity: CellIdentity, new: ExpandedCell, block: int) -> None:
    cell = new.cell
    old = cells.get(identity)
    if old is None:
        cells[identity] = new
        return
    if old.train != new.train:
        raise ConfigError(
            f"cell {cell} is listed twice with different training settings (the second time in blocks, entry "
            f"{block}); allowed: one setting a cell; remove one of the two or give both the same `train`"
        )
    names = tuple(dict.fromkeys((*old.cell.strategy.control_of, *cell.strategy.control_of)))
    merged = replace(old.cell, strategy=replace(old.cell.strategy, control_of=names))
    cells[identity] = ExpandedCell(merged, old.optional and new.optional, old.train)


def _identity(choice: StrategyChoice) -> str:
    chosen = [choice.normalisation] if choice.normalisation else []
    return content_hash([choice.name, choice.fields, choice.fixed, *chosen])
