"""The cells that a sweep asked for, so that what is not finished shows as such instead of being left out."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.plan.planned import Plan, PlannedCell
from orchestrator.plan.stages import all_stages, stage_id


@dataclass(frozen=True, kw_only=True)
class ExpectedCell:
    """A cell as it was planned: its identity, its factors, and the seeds that make it complete."""

    cell_id: str | None
    """None while its data set is not prepared: no run can belong to it."""
    strategy: str
    """Label of the strategy."""
    strategy_name: str
    regime: str | None
    init: str | None
    dataset: str
    labels: str = "human"
    label_budget: str
    transfer: str | None
    leakage: str | None
    split: str | None
    selection: str | None
    control_of: tuple[str, ...] = ()
    seeds: int
    """How many final runs make it complete."""
    final_seeds: tuple[int, ...] | None = None
    """Their seeds; runs of others, left by an earlier start, do not count. None = no plan is at hand, all count."""
    stages: tuple[str, ...] = ()
    """Ids, in the ledger, of the shared stages that its runs build on."""
    optional: bool = False
    state: str
    """done, partial, missing, blocked or failed."""
    reason: str = ""
    remedy: str = ""


def expected_cells(plan: Plan) -> tuple[ExpectedCell, ...]:
    """The cells of a plan in its order, as plain data for `summary.compare`."""
    return tuple(
        ExpectedCell(
            cell_id=planned.cell_id,
            strategy=planned.cell.strategy.label,
            strategy_name=planned.cell.strategy.name,
            regime=str(planned.cell.strategy.fields.get("regime", "full")),
            init=str(planned.cell.strategy.fields.get("init", "random")),
            dataset=planned.cell.dataset,
            labels=planned.facts.labels,
            label_budget=str(planned.cell.label_budget),
            transfer=planned.transfer,
            leakage=planned.leakage,
            split=planned.split,
            selection=planned.selection,
            control_of=planned.cell.strategy.control_of,
            seeds=planned.seeds,
            final_seeds=tuple(planned.final_seeds),
            stages=_stages(planned),
            optional=planned.optional,
            state=planned.state,
            reason=planned.reason,
            remedy=planned.remedy,
        )
        for planned in plan.cells
    )


def _stages(planned: PlannedCell) -> tuple[str, ...]:
    if planned.template is None or planned.state == "blocked":
        return ()
    return tuple(stage_id(spec.key) for spec in all_stages(planned))
