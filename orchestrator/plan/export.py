"""A plan as plain data, for `--json`. Keys are only ever added; `schema` is raised when one changes its meaning."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

from orchestrator.plan.planned import CELL_STATES, Plan, PlannedCell

SCHEMA = 1


def plan_to_data(plan: Plan) -> dict[str, Any]:
    """The plan as JSON can hold it; what is not known is None."""
    return {
        "schema": SCHEMA,
        "name": plan.name,
        "cells": [cell_to_data(cell) for cell in plan.cells],
        "stages": [stage_to_data(stage) for stage in plan.shared],
        "totals": {
            "cells": len(plan.cells),
            **{state: plan.count(state) for state in CELL_STATES},
            "runs": plan.runs_total,
            "runs_done": plan.runs_done,
            "device_s": plan.device_s,
            "device_left_s": plan.device_left_s,
            "wall_left_s": plan.wall_left_s,
            "disk_gib": plan.disk_gib,
        },
        "feasible": plan.is_feasible,
        "feasibility": plan.feasibility,
        "groups": plan.groups,
        "shapes": [asdict(shape) for shape in plan.shapes],
        "expected_use": plan.expected_use,
    }


def stage_to_data(planned: PlannedCell) -> dict[str, Any]:
    """One stage that cells share as JSON can hold it."""
    return {
        "stage": planned.stage,
        "name": str(planned.cell),
        "key": planned.template.key if planned.template else None,
        "datasets": planned.cell.dataset,
        "state": planned.state,
        "device_s": planned.device_s,
        "device_left_s": planned.device_left_s,
        "disk_gib": planned.disk_gib,
    }


def cell_to_data(planned: PlannedCell) -> dict[str, Any]:
    """One cell of a plan as JSON can hold it."""
    choice, budget = planned.cell.strategy, planned.cell.label_budget
    return {
        "cell_id": planned.cell_id,
        "strategy": choice.label,
        "strategy_name": choice.name,
        "regime": choice.fields.get("regime"),
        "init": choice.fields.get("init"),
        "control_of": list(choice.control_of),
        "dataset": planned.cell.dataset,
        "label_budget": {"kind": budget.kind, "value": budget.value, "sampler": budget.sampler, "text": str(budget)},
        "state": planned.state,
        "reason": planned.reason,
        "remedy": planned.remedy,
        "optional": planned.optional,
        "transfer": planned.transfer,
        "leakage": planned.leakage,
        "split": planned.split,
        "selection": planned.selection,
        "chosen_on": [one.dataset for one in planned.choosers],
        "folds": list(planned.folds_used),
        "trials": planned.trials,
        "seeds": planned.seeds,
        "tuned": sorted(planned.space),
        "runs": planned.runs_total,
        "runs_done": planned.runs_done,
        "runs_failed": planned.runs_failed,
        "device_s": planned.device_s,
        "device_left_s": planned.device_left_s,
        "measured": planned.is_measured,
        "disk_gib": planned.disk_gib,
        "notes": list(planned.notes),
    }
