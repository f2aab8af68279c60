"""Whether worker groups fit the machine, how many of each shape do, and in words. Pure."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

from orchestrator.config import ExecutionConfig
from orchestrator.plan.placement import Room, first_groups
from orchestrator.plan.planned import Plan, PlannedCell, ShapeRoom
from orchestrator.plan.shapes import GroupShape, Shapes, shapes_for
from orchestrator.plan.usage import expected_use


def placed(plan: Plan, *, cpus: float | None, gpus: float | None, groups: int | None = None) -> Plan:
    """A plan with what its worker groups are, whether they fit, and how long they take.

    Args:
        plan: its cells and shared stages.
        cpus: CPUs of the machine; None where the cluster is not known yet.
        gpus: its GPUs; None where the cluster is not known yet.
        groups: worker groups at once to assume; None = as the grid asks.

    Raises:
        ConfigError: groups of several workers whose workers would hold a share of a GPU each.
    """
    execution = plan.grid.execution
    everything = (*plan.shared, *plan.cells)
    needed = [one for one in everything if one.state not in ("blocked", "done")] or list(everything)
    shapes = shapes_for(needed, execution, gpus or 0.0)
    counts = Counter(map(shapes.of, needed))
    is_feasible, text = feasibility(counts, execution, cpus, gpus)
    most = groups if groups is not None else execution.groups
    room = Room(
        math.inf if cpus is None else cpus, math.inf if cpus is None else gpus or 0.0, float(most) if most else math.inf
    )
    is_known = bool(most) or cpus is not None
    if most or not is_known:
        count = most or None
    elif len(counts) == 1:
        count = int(room.count(next(iter(counts))))
    else:
        count = max(1, len(groups_at_start(needed, shapes, room)))
    wall_s, use = expected_use(plan.cells, plan.shared, plan.grid, shapes, room if is_known and is_feasible else None)
    return replace(
        plan,
        is_feasible=is_feasible,
        feasibility=text,
        groups=count,
        expected_use=use,
        wall_left_s=wall_s,
        shapes=tuple(_shape_room(shape, counts[shape], room) for shape in sorted(counts, reverse=True)),
    )


def _shape_room(shape: GroupShape, cells: int, room: Room) -> ShapeRoom:
    fit = room.count(shape)
    return ShapeRoom(
        workers=shape.workers,
        cpus_per_worker=shape.cpus,
        gpus_per_worker=shape.gpus,
        cells=cells,
        fit=None if math.isinf(fit) else int(fit),
    )


def feasibility(
    shapes: Iterable[GroupShape], execution: ExecutionConfig, cpus: float | None, gpus: float | None
) -> tuple[bool, str]:
    """Whether the machine can hold worker groups of every shape, and the reason in words.

    Args:
        shapes: what the sweep's runs need.
        execution: the settings.
        cpus: CPUs of the machine; None where the cluster is not known yet.
        gpus: its GPUs; None where the cluster is not known yet.
    """
    wanted = sorted(set(shapes), reverse=True) or [GroupShape(1, execution.cpus_per_worker)]
    if cpus is None:
        what = " or ".join(map(str, wanted))
        return True, f"a worker group is {what}; the cluster's CPUs are not known before it is joined"
    room = Room(cpus, gpus or 0.0)
    for shape in wanted:
        if not room.holds(shape):
            return False, _too_small(shape, 1, cpus, gpus)
    smallest = min(wanted, key=lambda one: (one.all_cpus, one.all_gpus))
    if execution.groups > room.count(smallest):
        return False, _too_small(smallest, execution.groups, cpus, gpus)
    counts = {shape: min(room.count(shape), execution.groups or room.count(shape)) for shape in wanted}
    where = f"{cpus:g} CPUs" + (f" and {_gpus(gpus)}" if gpus else "")
    if len(wanted) == 1:
        return True, f"{_groups(counts[wanted[0]])} of {wanted[0]} on {where}"
    most = ", ".join(f"{counts[shape]:g} of {shape}" for shape in wanted)
    limit = f", at most {execution.groups} at once" if execution.groups else ""
    return (
        True,
        f"worker groups of {len(wanted)} shapes on {where}{limit}; of one shape alone fit {most}",
    )


def groups_at_start(cells: Sequence[PlannedCell], shapes: Shapes, room: Room) -> list[GroupShape]:
    """The groups that a sweep starts with, given what is left of its cells and stages."""
    work: dict[GroupShape, tuple[int, float]] = {}
    for cell in cells:
        runs = cell.runs_total - cell.runs_done
        if runs <= 0 or cell.state in ("blocked", "done"):
            continue
        seconds = cell.device_left_s / int(cell.train.get("world_size", 1))
        old = work.get(shapes.of(cell), (0, 0.0))
        work[shapes.of(cell)] = old[0] + runs, old[1] + seconds
    return first_groups(work, room)


def _too_small(shape: GroupShape, groups: int, cpus: float, gpus: float | None) -> str:
    what = "a worker group needs" if groups == 1 else f"{groups} worker groups need"
    need = f"{groups * shape.all_cpus} CPUs"
    have = f"there are {cpus:g}"
    if shape.gpus:
        need += f" and {_gpus(groups * shape.all_gpus)}"
        have = f"there are {cpus:g} CPUs and {_gpus(gpus or 0)}"
    also = " or execution.gpus_per_worker" if shape.gpus else ""
    return (
        f"{what} {need} ({shape}{' each' if groups > 1 else ''}), but {have}; lower train.world_size, "
        f"execution.cpus_per_worker{also or ' or execution.groups'}, or join a larger cluster"
    )


def _groups(count: float) -> str:
    return f"{count:g} worker group{'' if count == 1 else 's'}"


def _gpus(count: float) -> str:
    return f"{count:g} GPU{'' if count == 1 else 's'}"
