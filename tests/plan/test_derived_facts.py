"""Transfer and leakage, expected use of worker groups, and whether they fit the machine."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orchestrator.config import BlockConfig, ExecutionConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.plan.facts import DatasetFacts, DatasetStatus
from orchestrator.plan.placement import Room
from orchestrator.plan.planned import Plan
from orchestrator.plan.provenance import leakage, transfer, used_pretraining
from orchestrator.plan.shapes import GroupShape
from orchestrator.plan.usage import Phase, Study, simulate
from strategies._base import Pretraining
from strategies.registry import make_strategy

Facts = Callable[..., DatasetFacts]
RGB = Pretraining(
    weights="w", modality="rgb", domain="natural_images", datasets=("imagenet_1k",), sensors=("rgb_camera",)
)
REMOTE = Pretraining(weights="w", modality="hsi", domain="remote", datasets=("Other-Meadow",), sensors=("AVIRIS",))


def test_random_weights_transfer_nothing_and_leak_nothing(facts: Facts) -> None:
    assert transfer(None, facts()) == "in_domain"
    assert leakage(None, facts()) == "none"


def test_photographs_to_spectra_is_cross_modality(facts: Facts) -> None:
    assert transfer(RGB, facts()) == transfer(RGB, facts(domain="proximal")) == "cross_modality"
    assert leakage(RGB, facts()) == "none"


def test_satellite_to_laboratory_is_cross_domain(facts: Facts) -> None:
    assert transfer(REMOTE, facts(domain="proximal")) == "cross_domain"


def test_another_scene_of_the_same_domain_is_cross_scene(facts: Facts) -> None:
    assert transfer(REMOTE, facts()) == "cross_scene"


def test_pretraining_on_the_target_itself_is_in_domain_and_leaks(facts: Facts) -> None:
    own = facts(name="other_meadow")
    assert transfer(REMOTE, own) == "in_domain"
    assert leakage(REMOTE, own) == "known"
    unlabelled = Pretraining(weights="w", modality="hsi", domain="remote", datasets=("other_meadow",), supervised=False)
    assert leakage(unlabelled, own) == "unlabelled_target"


def test_the_same_sensor_makes_leakage_possible(facts: Facts) -> None:
    assert leakage(REMOTE, facts(sensor="aviris")) == "possible"
    assert leakage(REMOTE, facts(sensor="EnMAP")) == "none"


def test_a_control_of_a_pretrained_strategy_is_in_domain() -> None:
    assert used_pretraining(make_strategy("cross_domain/spectf", {"init": "random"})) is None
    assert used_pretraining(make_strategy("cross_domain/spectf", {"init": "pretrained"})) is not None


# --- expected use --------------------------------------------------------------------------------------------------


def study(*phases: tuple[int, float], workers: int = 1) -> Study:
    return Study([Phase(*phase) for phase in phases], GroupShape(workers))


def test_one_group_is_always_used() -> None:
    assert simulate([study((4, 1.0), (2, 1.0), (1, 3.0))], Room(1)) == (9.0, 1.0)


def test_a_barrier_leaves_groups_idle_where_there_is_nothing_else_to_do() -> None:
    makespan, use = simulate([study((2, 1.0), (1, 2.0))], Room(2))
    assert makespan == 3.0
    assert use == pytest.approx(4 / 6)


def test_other_studies_fill_the_machine_meanwhile() -> None:
    one = study((4, 1.0), (2, 1.0), (2, 2.0))
    assert simulate([one] * 12, Room(2))[1] > 0.95
    assert simulate([one], Room(8))[1] < 0.4


def test_nothing_to_do_takes_no_time() -> None:
    assert simulate([], Room(2)) == (0.0, 1.0)


def test_groups_of_two_sizes_share_the_cpus() -> None:
    assert simulate([study((3, 10.0)), study((2, 10.0), workers=2)], Room(4)) == (20.0, 7 * 10 / (4 * 20))
    assert simulate([study((2, 10.0)), study((1, 10.0), workers=2)], Room(2))[0] == 20.0


def test_a_large_group_is_not_kept_waiting_for_ever_by_small_ones() -> None:
    small = [study(*[(1, 50.0)] * 40) for _ in range(2)]
    shifted = study((1, 25.0), *[(1, 50.0)] * 40)  # both CPUs are never free at once
    large = study((1, 1000.0), workers=2)
    makespan, _ = simulate([small[0], shifted, large], Room(2))
    assert makespan < 40 * 50 + 25 + 1000 + 100


def test_a_study_waits_for_the_stages_that_it_builds_on() -> None:
    stage = Study([Phase(1, 50.0)], name="pretraining")
    cell = Study([Phase(2, 5.0, frozenset({"pretraining"}))])
    assert simulate([cell, stage], Room(2))[0] == 55.0


def test_the_plan_tells_expected_use_and_time_from_what_is_left(
    plan_of: Callable[..., Plan], grid: Callable[..., GridConfig], status: Callable[..., DatasetStatus]
) -> None:
    made = grid(search=SearchConfig(trials=4))
    one, two = (plan_of(made, status(), cpus=cpus) for cpus in (1, 2))
    assert one.expected_use == 1.0
    assert one.wall_left_s == pytest.approx(one.device_left_s)
    assert one.wall_left_s is not None
    assert two.wall_left_s is not None
    assert one.wall_left_s / 2 <= two.wall_left_s < one.wall_left_s
    assert plan_of(made, cpus=None).expected_use is None


# --- feasibility ---------------------------------------------------------------------------------------------------


def test_groups_fill_the_machine_unless_the_grid_says_otherwise(
    plan_of: Callable[..., Plan], grid: Callable[..., GridConfig]
) -> None:
    assert plan_of(grid(train=TrainConfig(world_size=2)), cpus=8).groups == 4
    assert plan_of(grid(execution=ExecutionConfig(groups=3)), cpus=8).groups == 3
    assert plan_of(grid()).groups is None


def test_too_few_cpus_for_a_worker_group_are_told_with_what_to_do(
    plan_of: Callable[..., Plan], grid: Callable[..., GridConfig]
) -> None:
    plan = plan_of(grid(train=TrainConfig(world_size=4)), cpus=2)
    assert not plan.is_feasible
    for words in ("needs 4 CPUs", "there are 2", "train.world_size"):
        assert words in plan.feasibility


def test_too_many_groups_are_told_too(plan_of: Callable[..., Plan], grid: Callable[..., GridConfig]) -> None:
    assert "3 worker groups need 3 CPUs" in plan_of(grid(execution=ExecutionConfig(groups=3)), cpus=2).feasibility


def test_the_largest_block_must_fit(plan_of: Callable[..., Plan], grid: Callable[..., GridConfig]) -> None:
    block = BlockConfig(["in_domain/unet"], ["meadow"], [0.2], train={"world_size": 8})
    assert not plan_of(grid(blocks=[block]), cpus=4).is_feasible


def test_an_unknown_cluster_is_not_judged(plan_of: Callable[..., Plan], grid: Callable[..., GridConfig]) -> None:
    plan = plan_of(grid(train=TrainConfig(world_size=4)))
    assert plan.is_feasible
    assert "not known" in plan.feasibility
