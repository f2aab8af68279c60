"""The plan: every cell with its runs, its state and the reason for it. Pure data in, pure data out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from orchestrator.config import GridConfig, SearchConfig
from orchestrator.plan.cells import Cell
from orchestrator.plan.facts import DatasetFacts
from orchestrator.plan.run_spec import RunSpec
from strategies._base import Distribution

if TYPE_CHECKING:
    import pyarrow as pa

CellState = Literal["done", "partial", "missing", "blocked", "failed"]
CELL_STATES: tuple[CellState, ...] = ("done", "partial", "missing", "blocked", "failed")


@dataclass(frozen=True, kw_only=True)
class Chooser:
    """A cell on another scene, whose trials help to choose the hyperparameters of this one."""

    dataset: str
    place: str
    """Data sets of one place share one vote."""
    cell_id: str | None
    """None while its data set is not prepared."""
    folds: tuple[int, ...] = (0,)
    """Folds that its trials are run on."""
    blocked: str = ""
    """Why it cannot be run; empty where it can."""


@dataclass(frozen=True, kw_only=True)
class PlannedCell:
    """A cell with everything that execution and reports need to know about it."""

    cell: Cell
    """Strategy, data set and label budget; the data set by its name."""
    dataset_source: str
    """What the grid wrote for the data set: its name, or the path of a user's YAML file. In no key."""
    facts: DatasetFacts
    cell_id: str | None
    """Identity of the cell in the ledger; None while its data set is not prepared."""
    template: RunSpec | None
    """Its runs with fold 0, seeds 0 and default fields; None while its data set is not prepared."""
    train: Mapping[str, Any]
    """Training settings, resolved for this strategy."""
    transfer: str
    leakage: str
    optional: bool
    folds_used: tuple[int, ...]
    """Cross-validation folds that the final seeds use; each has a study of its own."""
    trials: int
    """Trials of each study; 0 where nothing is tuned (no validation labels, or an empty space)."""
    seeds: int
    """Final runs."""
    first_seed: int
    state: CellState
    reason: str
    """Why it is in this state."""
    remedy: str
    """The command that mends it, where one does."""
    runs_total: int
    runs_done: int
    runs_failed: int
    device_s: float
    """Estimated device seconds of all its runs."""
    device_left_s: float
    """Estimated device seconds of the runs that are still to do."""
    is_measured: bool
    """Whether the estimate rests on runs of the ledger instead of the strategy's reference value."""
    disk_gib: float
    """Estimated disk space of its checkpoints and models, an upper bound."""
    space: Mapping[str, Distribution]
    """The tuned fields; those that the grid fixed are not among them."""
    notes: tuple[str, ...]
    """What differs from the grid's settings for this cell."""
    kind: Literal["network", "estimator"]
    receptive_field_px: int
    selection: str
    """Where validation labels come from, resolved."""
    split: str
    """block, random or images, resolved."""
    stage: Literal["final", "pretrain", "features"] = "final"
    """What its last runs are: those of a cell, or a stage that cells share (see `stages`)."""
    pretraining: RunSpec | None = None
    """The own pretraining that its runs build on, for fold and seed 0."""
    pretraining_seeds: int = 1
    sources: tuple[str, ...] = ()
    """Data sets that its own pretraining learns from, beside the cell's own."""
    pretraining_step_s: float = 0.0
    features: RunSpec | None = None
    """The extraction of frozen features that its runs are trained on, for fold and seed 0."""
    features_s: float = 0.0
    """Estimated device seconds of one extraction."""
    features_gib: float = 0.0
    """Size of one extraction's features, an upper bound."""
    stages: tuple[RunSpec, ...] = ()
    """Of a stage: the stages it builds on."""
    candidates_id: str = ""
    """Where hyperparameters are chosen on other scenes: what its trials are drawn for, the same on every scene."""
    choosers: tuple[Chooser, ...] = ()
    """The cells whose trials choose its hyperparameters, instead of its own, in the order of the plan."""

    @property
    def why_blocked(self) -> str:
        """The cell, the reason, and the command that mends it."""
        return f"{self.cell}: {self.reason}" + (f" ({self.remedy})" if self.remedy else "")

    @property
    def final_seeds(self) -> range:
        """Seeds of the final runs."""
        return range(self.first_seed, self.first_seed + self.seeds)


@dataclass(frozen=True, kw_only=True)
class ShapeRoom:
    """A shape of worker groups, and how many of it fit."""

    workers: int
    cpus_per_worker: int
    gpus_per_worker: float
    cells: int
    """Cells, and stages that cells share, whose runs need it."""
    fit: int | None
    """Groups of this shape alone that fit at once; None where the cluster is not known."""


@dataclass(frozen=True, kw_only=True)
class Plan:
    """All cells of a sweep and what running them takes."""

    name: str
    grid: GridConfig
    cells: tuple[PlannedCell, ...]
    shared: tuple[PlannedCell, ...]
    """Stages that cells share, a dependency before its dependants."""
    search: SearchConfig
    is_feasible: bool = True
    feasibility: str = ""
    """Whether worker groups of every shape fit the machine, in words."""
    groups: int | None = None
    """Worker groups that the estimates assume; None where the cluster is not known."""
    expected_use: float | None = None
    """Share of the groups' time that is used, given stages, rounds and rungs, 0..1; None with nothing to do."""
    wall_left_s: float | None = None
    """Estimated wall-clock seconds of what is still to do, shared stages included, without the constant start."""
    shapes: tuple[ShapeRoom, ...] = ()
    """The shapes of the worker groups that the runs need."""

    def count(self, state: CellState) -> int:
        """Number of cells in a state."""
        return sum(cell.state == state for cell in self.cells)

    @property
    def runs_total(self) -> int:
        return sum(cell.runs_total for cell in self.cells if cell.state != "blocked")

    @property
    def runs_done(self) -> int:
        return sum(cell.runs_done for cell in self.cells if cell.state != "blocked")

    @property
    def device_s(self) -> float:
        return sum(cell.device_s for cell in self.cells if cell.state != "blocked")

    @property
    def device_left_s(self) -> float:
        return sum(cell.device_left_s for cell in self.cells if cell.state != "blocked")

    @property
    def disk_gib(self) -> float:
        return sum(cell.disk_gib for cell in self.cells if cell.state != "blocked")

    def table(self) -> pa.Table:
        """One row a cell: factors, state, reason, remedy, runs, `device_s` in seconds, `disk_gib` in GiB."""
        from orchestrator.plan.display import plan_table

        return plan_table(self)

    def __str__(self) -> str:
        from orchestrator.plan.display import plan_text

        return plan_text(self)

    def _repr_html_(self) -> str:
        """What a notebook shows."""
        from orchestrator.plan.display import plan_html

        return plan_html(self)
