"""A plan as a notebook and `print` show it: one line a cell, what it costs, and what mends a blocked one."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from html import escape
from typing import TYPE_CHECKING, Any

from orchestrator.plan.durations import duration
from orchestrator.plan.export import cell_to_data
from orchestrator.plan.planned import CELL_STATES, Plan, PlannedCell

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("strategy", "data set", "labels", "state", "runs", "device time", "transfer", "why")
_COLOURS: Mapping[str, str] = {"done": "#1a7f37", "partial": "#9a6700", "blocked": "#8250df", "failed": "#cf222e"}


def plan_table(plan: Plan) -> pa.Table:
    """One row a cell with every fact of `hsfm-sweep plan --json`; times in seconds, disk space in GiB."""
    import pyarrow as pa

    rows = []
    for planned in plan.cells:
        row: dict[str, Any] = cell_to_data(planned)
        budget = row.pop("label_budget")
        row |= {"label_budget": budget["text"], "budget_kind": budget["kind"], "budget_value": budget["value"]}
        rows.append(row)
    return pa.Table.from_pylist(rows)


def plan_text(plan: Plan) -> str:
    """The plan in columns, for `print`."""
    rows = [COLUMNS, *map(_cells, plan.cells)]
    widths = [max(len(row[i]) for row in rows) for i in range(len(COLUMNS))]
    lines = ["  ".join(word.ljust(width) for word, width in zip(row, widths, strict=True)).rstrip() for row in rows]
    return "\n".join([*lines, "", *_summary(plan)])


def plan_html(plan: Plan) -> str:
    """The plan as an HTML table without scripts, for notebooks."""
    head = "".join(f"<th style='text-align:left'>{escape(name)}</th>" for name in COLUMNS)
    body = "".join(_html_row(planned) for planned in plan.cells)
    lines = "<br>".join(map(escape, _summary(plan)))
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table><p>{lines}</p>"


def _html_row(planned: PlannedCell) -> str:
    cells = []
    for name, word in zip(COLUMNS, _cells(planned), strict=True):
        colour = f";color:{_COLOURS[planned.state]}" if name == "state" and planned.state in _COLOURS else ""
        cells.append(f"<td style='text-align:left{colour}'>{escape(word)}</td>")
    return f"<tr>{''.join(cells)}</tr>"


def _cells(planned: PlannedCell) -> Sequence[str]:
    return (
        planned.cell.strategy.label,
        planned.cell.dataset,
        str(planned.cell.label_budget),
        f"{planned.state} (optional)" if planned.optional else planned.state,
        f"{planned.runs_done}/{planned.runs_total}",
        f"{'' if planned.is_measured else '~'}{duration(planned.device_s)}",
        planned.transfer,
        planned.reason,
    )


def shared_lines(plan: Plan) -> list[str]:
    """The stages that cells share, in words: how many, how long, and how much disk their features take."""
    lines = []
    for stage, what in (("pretrain", "own pretraining"), ("features", "extraction of frozen features")):
        found = [one for one in plan.shared if one.stage == stage]
        if not found:
            continue
        left = [one for one in found if one.state != "done"]
        text = f"{len(found)} x {what}, shared by cells: {len(found) - len(left)} done"
        if left:
            text += f", ~{duration(sum(one.device_left_s for one in left))} left"
        if stage == "features":
            text += f"; features take at most {sum(one.disk_gib for one in found):.2f} GiB (half precision)"
        lines.append(text)
    return lines


def _summary(plan: Plan) -> list[str]:
    counts = ", ".join(f"{plan.count(state)} {state}" for state in CELL_STATES if plan.count(state))
    lines = [
        f"{plan.name}: {len(plan.cells)} cells ({counts}); runs {plan.runs_done}/{plan.runs_total}; device time "
        f"{duration(plan.device_s)}, {duration(plan.device_left_s)} of it left; disk at most {plan.disk_gib:.1f} GiB",
        plan.feasibility,
    ]
    lines += shared_lines(plan)
    if plan.wall_left_s:
        lines.append(f"about {duration(plan.wall_left_s)} to go on {plan.groups} group{'s' * (plan.groups != 1)}")
    remedies = Counter(c.remedy for c in plan.cells if c.remedy and c.state in ("blocked", "failed"))
    return lines + [f"to mend {count} of them: {remedy}" for remedy, count in remedies.items()]
