"""Shapes of worker groups: who needs which, who is started, and who gives room back."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from orchestrator.config import BlockConfig, ExecutionConfig, GridConfig, TrainConfig, validate
from orchestrator.errors import ConfigError
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.placement import IDLE_S, STUCK_S, TURN_S, Held, Placement, Room, first_groups
from orchestrator.plan.planned import Plan
from orchestrator.plan.shapes import GroupShape, shapes_for

SMALL, BIG = GroupShape(1), GroupShape(2)
CPU, GPU = GroupShape(1), GroupShape(1, 1, 1.0)
Grids, Planner = Callable[..., GridConfig], Callable[..., Plan]


def held(name: str, shape: GroupShape, state: Any = "busy", for_s: float = 1000.0) -> Held:
    return Held(name=name, shape=shape, state=state, for_s=for_s)


# ---- which shape a cell has


def mixed(grid: Grids, **execution: Any) -> GridConfig:
    block = BlockConfig(["in_domain/unet"], ["meadow"], [0.2], train={"world_size": 2})
    return grid(
        strategies=["in_domain/svm_rbf", "in_domain/spectral_cnn"],
        blocks=[block],
        execution=ExecutionConfig(**execution),
    )


def test_every_block_has_groups_of_its_own_size_and_scikit_learn_holds_no_gpu(grid: Grids, plan_of: Planner) -> None:
    plan = plan_of(mixed(grid))
    on_gpus = shapes_for(plan.cells, ExecutionConfig(), 4)
    assert [str(on_gpus.of(cell)) for cell in plan.cells] == [
        "1 worker x 1 CPU",
        "1 worker x 1 CPU + 1 GPU",
        "2 workers x 1 CPU + 1 GPU",
    ]
    assert [cell.train["world_size"] for cell in plan.cells] == [1, 1, 2], "the shape is in no key, the world size is"


def test_without_gpus_scikit_learn_runs_in_the_smallest_groups_that_networks_have(
    grid: Grids, plan_of: Planner
) -> None:
    strategies = ["in_domain/svm_rbf", "in_domain/unet"]
    plan = plan_of(grid(strategies=strategies, train=TrainConfig(world_size=2)))
    assert {shapes_for(plan.cells, ExecutionConfig(), 0).of(cell).workers for cell in plan.cells} == {2}
    alone = plan_of(grid(strategies=strategies[:1], train=TrainConfig(world_size=2)), cpus=1)
    assert alone.is_feasible, "one worker is enough"


def test_a_share_of_a_gpu_is_for_groups_of_one_worker(grid: Grids, plan_of: Planner) -> None:
    assert plan_of(grid(execution=ExecutionConfig(gpus_per_worker=0.5)), cpus=4, gpus=1).groups == 2
    with pytest.raises(ConfigError, match=r"gpus_per_worker=0.5 with train.world_size=2.*one worker"):
        plan_of(mixed(grid, gpus_per_worker=0.5), cpus=4, gpus=1)
    with pytest.raises(ConfigError, match="a share below 1, a whole number, or -1"):
        validate(grid(execution=ExecutionConfig(gpus_per_worker=1.5)))


def test_the_plan_tells_every_shape_and_how_many_of_it_fit(grid: Grids, plan_of: Planner) -> None:
    plan = plan_of(mixed(grid), cpus=5)
    assert [(one.workers, one.cells, one.fit) for one in plan.shapes] == [(2, 1, 2), (1, 2, 5)]
    assert plan.is_feasible
    assert "2 of 2 workers x 1 CPU, 5 of 1 worker x 1 CPU" in plan.feasibility
    limited = plan_of(mixed(grid, groups=3), cpus=5)
    assert [one.fit for one in limited.shapes] == [2, 3]
    too_small = plan_of(mixed(grid), cpus=1)
    assert not too_small.is_feasible
    assert "needs 2 CPUs (2 workers x 1 CPU), but there are 1; lower train.world_size" in too_small.feasibility
    no_gpu = plan_of(mixed(grid, gpus_per_worker=1), cpus=5, gpus=1)
    assert "needs 2 CPUs and 2 GPUs" in no_gpu.feasibility


# ---- which groups a sweep starts with


def test_a_sweep_starts_with_groups_of_every_shape_most_where_most_is_to_do() -> None:
    assert first_groups({SMALL: (9, 10.0)}, Room(3)) == [SMALL] * 3
    assert first_groups({SMALL: (9, 10.0), BIG: (9, 1000.0)}, Room(8)) == [BIG] * 3 + [SMALL] * 2
    assert first_groups({SMALL: (1, 10.0)}, Room(8)) == [SMALL], "not more groups than runs"
    assert first_groups({CPU: (99, 1e6), GPU: (99, 1.0)}, Room(6, 4)) == [GPU] * 4 + [CPU] * 2
    assert first_groups({SMALL: (9, 1e6), BIG: (9, 1.0)}, Room(8, groups=2)) == [BIG, SMALL]


# ---- who starts and who leaves


def test_a_run_that_waits_gets_a_group_where_there_is_room() -> None:
    moves = Placement(Room(3)).decide(0, [held("a", BIG)], {SMALL: 2})
    assert moves.start == (SMALL,)
    assert moves.end == ()
    covered = Placement(Room(8)).decide(0, [held("a", SMALL, "starting", 1)], {SMALL: 1})
    assert covered.start == (), "a group that is on its way will take it"


def test_idle_groups_of_another_shape_give_their_room_back() -> None:
    groups = [held("a", SMALL, "idle"), held("b", SMALL, "idle"), held("c", SMALL, "busy")]
    assert Placement(Room(3)).decide(0, groups, {BIG: 1}).end == ("a", "b")
    assert Placement(Room(4)).decide(0, groups, {BIG: 1}).end == ("a",), "no more than are needed"
    fresh = [held("a", SMALL, "idle", IDLE_S / 2), held("b", SMALL, "idle", IDLE_S / 2)]
    assert Placement(Room(2)).decide(0, fresh, {BIG: 1}).end == (), "it may have its next run in a moment"
    assert Placement(Room(2)).decide(0, groups[:2], {BIG: 1, SMALL: 2}).end == (), "its own shape waits, too"


def test_a_large_shape_waits_for_one_turn_at_most_and_nothing_slips_into_its_room() -> None:
    placement = Placement(Room(2))
    busy = [held("a", SMALL), held("b", SMALL)]
    assert placement.decide(0, busy, {BIG: 1, SMALL: 1}).end == ()
    assert placement.decide(TURN_S - 1, busy, {BIG: 1, SMALL: 1}).end == ()
    assert set(placement.decide(TURN_S, busy, {BIG: 1, SMALL: 1}).end) == {"a", "b"}
    one_gone = [held("b", SMALL, "leaving")]
    assert placement.decide(TURN_S + 5, one_gone, {BIG: 1, SMALL: 1}).start == ()
    assert placement.decide(TURN_S + 9, [], {BIG: 1, SMALL: 1}).start == (BIG,)
    # now the small ones wait, and get their turn
    big = [held("c", BIG)]
    assert placement.decide(TURN_S + 10, big, {BIG: 1, SMALL: 1}).end == ()
    assert placement.decide(2 * TURN_S + 10, big, {BIG: 1, SMALL: 1}).end == ("c",)


def test_a_shape_that_has_a_group_takes_no_other_groups_place() -> None:
    placement = Placement(Room(3))
    groups = [held("a", BIG), held("b", SMALL)]
    assert placement.decide(0, groups, {BIG: 1, SMALL: 1}).end == ()
    assert placement.decide(10 * TURN_S, groups, {BIG: 1, SMALL: 1}).end == ()


def test_no_gpu_stands_still_for_want_of_a_cpu() -> None:
    groups = [held("a", CPU), held("b", CPU), held("c", GPU)]
    assert Placement(Room(3, 2)).decide(0, groups, {GPU: 1, CPU: 3}).end == ("a",)
    assert Placement(Room(3, 1)).decide(0, groups, {GPU: 1, CPU: 3}).end == (), "there is no GPU left"


def test_the_limit_of_groups_at_once_holds_for_all_shapes_together() -> None:
    placement = Placement(Room(groups=1))
    assert placement.decide(0, [held("a", SMALL, "idle")], {BIG: 1}).end == ("a",)
    assert placement.decide(1, [held("a", SMALL, "leaving")], {BIG: 1}).start == ()
    assert placement.decide(2, [], {BIG: 1, SMALL: 1}).start == (BIG,)


def test_one_that_finds_no_place_in_room_that_looks_free_is_helped() -> None:
    placement = Placement(Room(8))
    groups = [held("a", BIG, "starting", STUCK_S), held("b", SMALL, "idle"), held("c", SMALL, "idle")]
    assert placement.decide(0, groups, {BIG: 1}).end == ("b",)
    assert placement.decide(1, groups, {BIG: 1}).end == (), "one at a time"


def test_placement_always_comes_to_an_end_whatever_waits() -> None:
    """Three shapes that exclude each other, on a machine that holds one of them at a time, all get their runs done."""
    shapes = [GroupShape(1), GroupShape(2), GroupShape(3)]
    placement, left = Placement(Room(3)), dict.fromkeys(shapes, 20)
    groups: dict[str, Held] = {}
    ends: dict[str, float] = {}
    now, number = 0.0, 0
    while any(left.values()) and now < 50_000:
        for name, one in list(groups.items()):
            if one.state == "leaving" and ends.get(name, 0) <= now:
                del groups[name]
            elif one.state == "busy" and ends[name] <= now:
                groups[name] = held(name, one.shape, "idle", 0)
            elif one.state in ("starting", "idle") and left[one.shape]:
                left[one.shape] -= 1
                groups[name], ends[name] = held(name, one.shape), now + 40
            elif one.state == "idle":
                groups[name] = held(name, one.shape, "idle", one.for_s + 5)
        moves = placement.decide(now, list(groups.values()), {shape: 1 for shape in shapes if left[shape]})
        for name in moves.end:
            groups[name] = held(name, groups[name].shape, "leaving")
        for shape in moves.start:
            number += 1
            groups[f"g{number}"] = held(f"g{number}", shape, "starting", 0)
        assert sum(one.shape.all_cpus for one in groups.values()) <= 3
        now += 5
    assert not any(left.values())


def test_plans_without_a_known_cluster_tell_shapes_without_numbers(grid: Grids, status: Any) -> None:
    plan = make_plan(mixed(grid), {"meadow": status()}, {}, {})
    assert [one.fit for one in plan.shapes] == [None, None]
    assert "not known" in plan.feasibility


# ---- the time to go


def pretrained(grid: Grids, **train: Any) -> GridConfig:
    own = {"name": "cross_domain/s2former", "source": "other", "grid": "index", "pretrain_steps": 100}
    return grid(
        strategies=[{**own, "pretrain_batch_size": 64}, "in_domain/svm_rbf"],
        controls=False,
        train=TrainConfig(steps=1, **train),
    )


def plan_pretrained(made: GridConfig, status: Any, **options: Any) -> Plan:
    return make_plan(made, {"meadow": status(), "other": status(name="other")}, {}, {}, cpus=2, **options)


def test_the_time_to_go_counts_pretrainings_that_cells_wait_for(grid: Grids, status: Any) -> None:
    plan = plan_pretrained(pretrained(grid), status)
    (stage,) = plan.shared
    assert plan.wall_left_s is not None
    assert plan.wall_left_s > stage.device_left_s > 0


def test_the_cost_of_a_pretraining_does_not_depend_on_the_batch_of_the_trainings(grid: Grids, status: Any) -> None:
    costs = {plan_pretrained(pretrained(grid, pixel_batch_size=n), status).shared[0].device_s for n in (16, 128)}
    assert len(costs) == 1
    # one core was measured to pretrain S2Former on 282 windows a second
    assert costs.pop() == pytest.approx(100 * 64 / 282, rel=0.1)


def test_a_measured_pretraining_counts_instead_of_the_reference(grid: Grids, status: Any) -> None:
    measured = {"pretrain cross_domain/s2former": 2.0}
    plan = plan_pretrained(pretrained(grid), status, measured_s=measured)
    assert plan.shared[0].device_s == pytest.approx(200)
