"""Stages that cells share: run once, before what builds on them, and done again where their output is gone."""

from __future__ import annotations

import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from orchestrator.config import ExecutionConfig, GridConfig, SearchConfig, TrainConfig
from orchestrator.datasets.registry import get_facts
from orchestrator.datasets.store import open_prepared
from orchestrator.errors import FeasibilityError
from orchestrator.execution.pretraining import PretrainRun
from orchestrator.execution.seat import Seat
from orchestrator.execution.stage_files import ENCODER, check_places, is_there, places_of, reopened
from orchestrator.execution.sweep_state import SweepState
from orchestrator.plan.facts import DatasetStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import Plan
from orchestrator.plan.run_spec import RunSpec
from strategies.registry import get_strategy
from tests.execution.conftest import Killed
from tests.execution.test_sweep_state import MemoryJournal, score

SMALL = {"pretrain_steps": 8, "pretrain_batch_size": 8, "width": 16, "depth": 1, "grid": "index"}


def plan_of(strategies: list[Any], *, seeds: int = 3, digest: str = "0" * 16) -> Plan:
    grid = GridConfig(
        strategies=strategies,
        datasets=["indian_pines"],
        label_budgets=[{"k_shot": 5}, {"k_shot": 10}],
        seeds=seeds,
        search=SearchConfig(trials=2, round=2),
        train=TrainConfig(steps=20),
        controls=False,
    )
    names = ("indian_pines", "salinas_a", "jasper_ridge")
    known = {name: DatasetStatus(facts=get_facts(name), digest=digest, files_present=True) for name in names}
    return make_plan(grid, known, {}, {})


def entry(**fields: Any) -> dict[str, Any]:
    return {"name": "cross_domain/spectral_mae", "source": "salinas_a", **SMALL, **fields}


def test_a_pretraining_is_planned_once_for_all_cells_that_ask_for_the_same() -> None:
    made = plan_of([entry(), entry(learning_rate=0.01), entry(mask_ratio=0.5), entry(pretrain_seeds=2)])
    assert [one.stage for one in made.shared] == ["pretrain"] * len(made.shared)
    # one for the first two entries, one for another ratio of masking, one more of a second seed
    assert len(made.shared) == 3
    assert len(made.cells) == 8
    assert {cell.transfer for cell in made.cells} == {"cross_scene"}


def test_targets_with_readers_of_different_age_share_a_pretraining() -> None:
    facts = get_facts("indian_pines")
    grid = GridConfig(
        strategies=[entry()], datasets=["indian_pines", "jasper_ridge"], label_budgets=[{"k_shot": 5}], controls=False
    )
    known = {
        name: DatasetStatus(facts=get_facts(name), digest="0" * 16, files_present=True)
        for name in ("salinas_a", "jasper_ridge")
    }
    newer = replace(facts, reader_version=facts.reader_version + 1)
    known["indian_pines"] = DatasetStatus(facts=newer, digest="0" * 16, files_present=True)
    made = make_plan(grid, known, {}, {})
    assert (len(made.cells), len(made.shared)) == (2, 1)


def test_a_run_carries_the_key_of_the_pretraining_that_its_seed_builds_on() -> None:
    from orchestrator.plan.slots import final_spec

    made = plan_of([entry(pretrain_seeds=2)])
    keys = [final_spec(made.cells[0], seed, {}).depends_on for seed in range(3)]
    assert keys[0] == keys[2] != keys[1]
    other = plan_of([entry(pretrain_seeds=2)], digest="1" * 16)
    assert not {one.template.key for one in made.shared} & {one.template.key for one in other.shared}  # type: ignore[union-attr]


def drive(plan: Plan, journal: MemoryJournal, seed: int, fail: str = "") -> SweepState:
    """Run to the end with segments ending in random order; stages whose label contains `fail` go wrong."""
    state = SweepState(
        [*plan.shared, *plan.cells], journal.cells(), search=plan.search, execution=ExecutionConfig(), journal=journal
    )
    generator = random.Random(seed)
    finished: set[str] = set()
    while True:
        while (segment := state.next_segment(limit=3)) is not None:
            assert set(segment.spec.depends_on) <= finished, "started before what it builds on"
        if not state.in_flight:
            return state
        segment = generator.choice(list(state.in_flight.values()))
        if fail and fail in str(state.cells[segment.cell_id].planned.cell):
            state.on_end(segment.lease_id, {"kind": "failed", "cause": "run_error", "error": "no such wavelength"})
            continue
        finished.add(segment.spec.key)
        scores = {"val/best_miou": score(segment)} if segment.spec.stage == "search" else {"test/miou": 0.5}
        event = {"kind": "reached", "step": segment.until_step, "scores": scores, "seconds": 1.0}
        state.on_end(segment.lease_id, event)


@pytest.mark.parametrize("seed", range(3))
def test_a_stage_runs_once_and_before_what_builds_on_it(seed: int) -> None:
    plan, journal = plan_of([entry(), entry(mask_ratio=0.5), "in_domain/svm_rbf"]), MemoryJournal()
    state = drive(plan, journal, seed)
    assert all(cell.is_closed for cell in state.cells.values())
    assert set(journal.trained.values()) == {1}
    finals = [r for c in state.cells.values() for s, r in c.slots.items() if s.startswith("final/")]
    assert len(finals) == 6 * 3
    again = drive(plan, journal, seed)
    assert not again.has_work()
    assert set(journal.trained.values()) == {1}


def test_a_stage_that_fails_fails_the_cells_that_build_on_it_and_no_others() -> None:
    plan, journal = plan_of([entry(), entry(mask_ratio=0.5), "in_domain/svm_rbf"]), MemoryJournal()
    state = drive(plan, journal, 0, fail="pretrain of cross_domain/spectral_mae[depth=1,grid=index,mask_ratio=0.5")
    done = {str(c.planned.cell): sum(r.state == "finished" for r in c.slots.values()) for c in state.cells.values()}
    for cell in plan.cells:
        is_broken = "mask_ratio=0.5" in str(cell.cell)
        assert bool(done[str(cell.cell)]) != is_broken
        if is_broken:
            assert "no such wavelength" in state.stages.failed(state.cells[str(cell.cell_id)])[0]
    assert state.is_finished


def test_a_stage_whose_files_are_gone_is_done_again_where_it_is_needed(tmp_path: Path) -> None:
    plan, journal = plan_of([entry()], seeds=2), MemoryJournal()
    drive(plan, journal, 0)
    more = plan_of([entry()], seeds=3)
    stage = more.shared[0]
    kept, records = reopened([*more.shared, *more.cells], journal.cells(), str(tmp_path))
    assert stage in kept
    assert {r.state for r in records[str(stage.cell_id)].slots.values()} == {"failed"}
    path = tmp_path / str(stage.template and stage.template.key) / ENCODER
    path.parent.mkdir()
    path.write_bytes(b"weights")
    assert stage.template is not None
    assert is_there(str(tmp_path), stage.template)
    _, records = reopened([*more.shared, *more.cells], journal.cells(), str(tmp_path))
    assert {r.state for r in records[str(stage.cell_id)].slots.values()} == {"finished"}


def pretrain(spec: RunSpec, prepared: Path, storage: Path | str, *, attempt: int = 1, die_at: int | None = None) -> Any:
    torch.set_num_threads(1)

    def tell(event: dict[str, Any]) -> str:
        if die_at is not None and event.get("step", -1) >= die_at:
            raise Killed
        return ""

    places = places_of(spec, (), {"indian_pines": str(prepared)}, {})
    job = {**places, "storage": str(storage), "attempt": attempt, "until_step": spec.train["steps"]}
    strategy = get_strategy(spec.strategy)(**spec.fields)
    return PretrainRun(spec, job, strategy, Seat(0, 1, torch.device("cpu"), tell, lambda ask: ask())).run()


@pytest.mark.parametrize("pool", ["source", "target"])
def test_a_killed_pretraining_ends_bit_identical(pool: str, indian_pines: Path, tmp_path: Path) -> None:
    plan = plan_of([entry(source="indian_pines", pool=pool)], digest=open_prepared(indian_pines).digest)
    spec = plan.shared[0].template
    assert spec is not None
    whole = pretrain(spec, indian_pines, tmp_path / "whole")
    with pytest.raises(Killed):
        pretrain(spec, indian_pines, tmp_path / "cut", die_at=4)
    resumed = pretrain(spec, indian_pines, tmp_path / "cut", attempt=2)
    assert resumed["scores"] == whole["scores"]
    assert whole["scores"]["pretrain/loss"] > 0
    states = [load_file(tmp_path / name / spec.key / ENCODER) for name in ("whole", "cut")]
    assert states[0].keys() == states[1].keys()
    assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
    assert {cell.leakage for cell in plan.cells} == {"unlabelled_target"}


def test_a_pretraining_in_an_object_store_is_found_and_read_back(indian_pines: Path, tmp_path: Path) -> None:
    from orchestrator.execution.model_building import weights_of

    plan = plan_of([entry(source="indian_pines")], digest=open_prepared(indian_pines).digest)
    spec = plan.shared[0].template
    assert spec is not None
    storage = f"file://{tmp_path}"  # any file system that pyarrow reaches by its address
    assert not is_there(storage, spec)
    assert pretrain(spec, indian_pines, storage)["kind"] == "reached"
    assert is_there(storage, spec)
    with weights_of({"storage": storage, "stages": [spec.to_json()]}) as path:
        assert load_file(str(path)).keys() == load_file(tmp_path / spec.key / ENCODER).keys()


def test_features_in_an_object_store_are_refused_before_anything_starts() -> None:
    stage = replace(plan_of([entry()]).shared[0], stage="features")
    with pytest.raises(FeasibilityError, match="feature_cache=false"):
        check_places([stage], "s3://bucket/checkpoints")
    check_places([stage], "/mnt/shared/checkpoints")


def test_a_batch_that_workers_cannot_share_blocks_the_cell() -> None:
    grid = GridConfig(
        strategies=[entry(pretrain_batch_size=9)],
        datasets=["indian_pines"],
        label_budgets=[{"k_shot": 5}],
        train=TrainConfig(world_size=2),
        controls=False,
    )
    known = {
        name: DatasetStatus(facts=get_facts(name), digest="0" * 16, files_present=True)
        for name in ("indian_pines", "salinas_a")
    }
    (cell,) = make_plan(grid, known, {}, {}).cells
    assert (cell.state, cell.remedy) == ("blocked", "set a multiple of train.world_size")
    assert "a batch of 9 windows" in cell.reason
