"""Worker groups of several shapes in one real sweep: it finishes, and no result depends on it."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from orchestrator.config import ExecutionConfig
from orchestrator.execution.worker_groups import WorkerGroups
from orchestrator.plan.placement import IDLE_S, Room
from orchestrator.plan.shapes import GroupShape
from tests.execution import sweeps

TRAIN = "steps: 8, evaluations: 2, pixel_batch_size: 32"
GRID = """name: {name}
datasets: [indian_pines]
label_budgets: [0.1]
strategies: [{strategies}]
{blocks}
seeds: 1
search: {{trials: 2, round: 2}}
train: {{{train}}}
"""
BLOCK = (
    "blocks: [{strategies: [in_domain/mlp], datasets: [indian_pines], label_budgets: [0.1], train: {world_size: 2}}]"
)


def write(folder: Path, name: str, strategies: str, *, blocks: str = "", train: str = TRAIN) -> Path:
    path = folder / f"{name}.yaml"
    path.write_text(GRID.format(name=name, strategies=strategies, blocks=blocks, train=train))
    return path


def wait_until(happened: Callable[[], bool]) -> None:
    end = time.monotonic() + 10
    while not happened():
        assert time.monotonic() < end
        time.sleep(0.01)


def groups_without_ray(monkeypatch: pytest.MonkeyPatch, folder: Path, room: Room) -> tuple[WorkerGroups, Any]:
    """Groups whose trainings are threads that wait; and a hub that lets those go which it is told to send home."""
    small, big = GroupShape(1), GroupShape(2)
    gone: dict[str, threading.Event] = {}

    def trainer(_: Any, group_id: str, shape: GroupShape) -> Any:
        gone[group_id] = threading.Event()
        (folder / f"{group_id}-x").mkdir()
        return SimpleNamespace(fit=gone[group_id].wait, shape=shape)

    monkeypatch.setattr(WorkerGroups, "_trainer", trainer)
    monkeypatch.setattr("orchestrator.execution.worker_groups._name", lambda group_id: f"{group_id}-x")
    groups = WorkerGroups(
        ExecutionConfig(), room=room, first=[small, small], shapes=[small, big], has_gpus=False, folder=folder
    )
    groups.hold()
    groups.start(None)
    return groups, SimpleNamespace(send_home=SimpleNamespace(remote=lambda name: gone[name].set()))


def test_idle_groups_leave_and_one_of_the_wanted_shape_is_started_in_their_room(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    groups, hub = groups_without_ray(monkeypatch, tmp_path, Room(2))
    assert [groups.limit(shape) for shape in (GroupShape(1), GroupShape(2))] == [3, 1]
    standing = {"idle_s": {"group-0": 2 * IDLE_S, "group-1": 2 * IDLE_S}, "waiting": {"2x1c0g": 1}}
    groups._move(hub, standing)
    wait_until(lambda: not groups._groups)
    groups._move(hub, standing)
    assert groups.names == {"group-2"}
    assert [groups.limit(shape) for shape in (GroupShape(1), GroupShape(2))] == [1, 2]
    wait_until(lambda: [path.name for path in tmp_path.iterdir()] == ["group-2-x"])  # what `status` counts
    assert not groups.have_ended


def test_a_group_without_gpus_asks_for_none_and_sees_none(tmp_path: Path) -> None:
    shapes = [GroupShape(1), GroupShape(1, 2, 0.5)]
    groups = WorkerGroups(
        ExecutionConfig(), room=Room(4, 1), first=shapes, shapes=shapes, has_gpus=True, folder=tmp_path
    )
    without, with_share = (groups._trainer("group", shape) for shape in shapes)
    assert without.scaling_config.resources_per_worker == {"CPU": 1.0}
    assert without.run_config.worker_runtime_env == {"env_vars": {"CUDA_VISIBLE_DEVICES": ""}}
    assert with_share.scaling_config.resources_per_worker == {"CPU": 2.0, "GPU": 0.5}
    assert not with_share.run_config.worker_runtime_env


def test_blocks_of_one_and_of_two_workers_end_like_two_sweeps_of_their_own(tmp_path: Path) -> None:
    small, everything = "in_domain/spectral_cnn", tmp_path / "everything"
    cpus = "execution.groups=2"  # so that Ray counts two CPUs on any machine
    sweeps.run(write(tmp_path, "mixed", small, blocks=BLOCK), everything, cpus)
    sweeps.run(write(tmp_path, "one", small), tmp_path, cpus)
    sweeps.run(write(tmp_path, "two", "in_domain/mlp", train=f"{TRAIN}, world_size: 2"), tmp_path, "execution.groups=1")
    mixed = sweeps.results(everything, "mixed")
    assert mixed == {**sweeps.results(tmp_path, "one"), **sweeps.results(tmp_path, "two")}
    assert {state for _, state, *_ in mixed.values()} <= {"finished", "stopped"}
    assert {slot.attempt for slot in sweeps.slots(everything, "mixed").values()} == {1}, "making room cost a run"


def test_scikit_learn_on_a_machine_with_a_gpu_asks_for_none(tmp_path: Path) -> None:
    grid = write(tmp_path, "fits", "in_domain/svm_rbf")
    # one GPU is there by name only; a run that asked for its two would not be feasible
    sweeps.run(grid, tmp_path, "execution.gpus_per_worker=2", environment={"RAY_OVERRIDE_RESOURCES": '{"GPU": 1}'})
    assert len(sweeps.closed(tmp_path, "fits")) == 3
