"""The work of a decision, a write and a read does not grow with the sweep: counted, not timed."""

from __future__ import annotations

import contextlib
import cProfile
import pstats
from collections import Counter
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from benchmarks.instant_sweep import grid_text
from orchestrator.config import ExecutionConfig, GridConfig, SearchConfig, load_grid
from orchestrator.datasets.registry import get_facts
from orchestrator.execution.cell_state import CellState
from orchestrator.execution.segments import Segment
from orchestrator.execution.sweep_state import SweepState
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.spool import COMPACT_BYTES, Spool
from orchestrator.plan.facts import DatasetStatus, WeightsStatus
from orchestrator.plan.make_plan import make_plan
from orchestrator.plan.planned import Plan
from orchestrator.plan.run_spec import content_hash

WEIGHTS = {"efficientnet_lite0_imagenet": WeightsStatus(name="efficientnet_lite0_imagenet", sha256="e" * 64, path="/w")}
NEAR_LINEAR = 1.5


def nothing(*args: object, **more: object) -> None: ...


class SilentJournal:
    """Takes every decision and keeps none."""

    def together(self) -> AbstractContextManager[object]:
        return nullcontext()

    def __getattr__(self, name: str) -> Callable[..., None]:
        return nothing


def planned(runs: int, folder: Path) -> Plan:
    file = folder / f"grid_{runs}.yaml"
    file.write_text(grid_text(runs, f"grid_{runs}"))
    status = DatasetStatus(facts=get_facts("indian_pines"), digest="0" * 16, files_present=True)
    return make_plan(load_grid(str(file)), {"indian_pines": status}, WEIGHTS, {})


def calls_of(function: Callable[[], object]) -> int:
    """Python and built-in function calls that `function` makes: its work, however busy the machine is."""
    profile = cProfile.Profile()
    profile.runcall(function)
    return int(pstats.Stats(profile).total_calls)  # type: ignore[attr-defined]


def score(segment: Segment) -> float:
    return int(content_hash([segment.spec.key, segment.until_step]), 16) / 16**16


def start(plan: Plan) -> SweepState:
    return SweepState(plan.cells, {}, search=plan.search, execution=ExecutionConfig(), journal=SilentJournal())


def decide(state: SweepState, decisions: int | None = None, *, at_once: int = 5) -> int:
    """Let runs end one after another, some in flight; how many segments ended."""
    flying: list[Segment] = []
    ended = 0
    while decisions is None or ended < decisions:
        while (segment := state.next_segment(limit=at_once)) is not None:
            flying.append(segment)
        if not flying:
            assert state.is_finished
            break
        segment = flying.pop(0)
        scores = {f"val/best_{state.search.metric}": score(segment)}
        state.on_end(
            segment.lease_id, {"kind": "reached", "step": segment.until_step, "scores": scores, "seconds": 1.0}
        )
        ended += 1
    return ended


def test_planning_does_as_much_work_a_run_for_a_large_grid_as_for_a_small_one(tmp_path: Path) -> None:
    planned(300, tmp_path)  # strategies are imported once
    small = calls_of(lambda: planned(300, tmp_path)) / 300
    large = calls_of(lambda: planned(3000, tmp_path)) / 3000
    assert large < NEAR_LINEAR * small


def test_a_decision_does_not_look_at_the_cells_that_it_is_not_about(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    looked_at: Counter[str] = Counter()
    looks = CellState.open_round

    def counted(self: CellState, fold: int, size: int) -> list[int] | None:
        looked_at[self.cell_id] += 1
        return looks(self, fold, size)

    monkeypatch.setattr(CellState, "open_round", counted)
    state = start(planned(3000, tmp_path))
    assert len(state.cells) == 300
    looked_at.clear()
    decisions = decide(state, 40)
    assert sum(looked_at.values()) < 10 * decisions
    assert len(looked_at) < 30


def test_a_sweep_of_ten_times_the_cells_costs_ten_times_the_work(tmp_path: Path) -> None:
    plans = {runs: planned(runs, tmp_path) for runs in (300, 3000)}
    decide(start(plans[300]), 20)  # Optuna is imported once
    work = {}
    for runs, plan in plans.items():
        state = start(plan)
        work[runs] = calls_of(lambda state=state: decide(state, 150)) / 150
    assert work[3000] < NEAR_LINEAR * work[300]


def test_the_end_of_a_run_in_a_long_search_does_not_look_at_all_its_trials(tmp_path: Path) -> None:
    def work(trials: int) -> float:
        grid = GridConfig(
            strategies=["in_domain/unet"],
            datasets=["indian_pines"],
            label_budgets=[0.1],
            search=SearchConfig(trials=trials, round=4, sampler="random"),
        )
        status = DatasetStatus(facts=get_facts("indian_pines"), digest="0" * 16, files_present=True)
        state = start(make_plan(grid, {"indian_pines": status}, {}, {}))
        decide(state, trials, at_once=1)  # a trial has one segment or two: this is far into the search
        segment = state.next_segment(limit=1)
        assert segment is not None
        event = {"kind": "reached", "step": segment.until_step, "scores": {"val/best_miou": 0.5}, "seconds": 1.0}
        return calls_of(lambda: state.on_end(segment.lease_id, event))

    assert work(200) < NEAR_LINEAR * work(40)


@pytest.fixture
def mlflow_calls(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """Names of the calls of MLflow's client."""
    from mlflow.tracking import MlflowClient

    calls: Counter[str] = Counter()
    for name in ("create_run", "log_batch", "log_inputs", "log_text", "set_terminated", "update_run", "search_runs"):
        original = getattr(MlflowClient, name)

        def counted(self: Any, *args: Any, name: str = name, original: Any = original, **kwargs: Any) -> Any:
            calls[name] += 1
            return original(self, *args, **kwargs)

        monkeypatch.setattr(MlflowClient, name, counted)
    return calls


def test_mlflow_is_called_a_few_times_a_run_and_never_searched_run_by_run(
    tmp_path: Path, mlflow_calls: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    from ledger_reports import report_run

    from orchestrator.ledger.store import open_ledger

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_ledger(tmp_path, "tuning", mode="drive") as ledger:
        ledger.ensure_cell("c1", "one cell", {})
        ledger.flush()
        mlflow_calls.clear()
        with ledger.together():
            for number in range(30):
                report_run(ledger, number, stage="final")
        ledger.flush()
        # create, params with tags and metrics, evaluation, end: and the cell's own tags once a batch
        assert mlflow_calls.total() <= 4 * 30 + 10
        assert mlflow_calls["search_runs"] == 0


def test_what_is_reported_together_is_on_the_disk_by_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from ledger_reports import report_run

    from orchestrator.ledger.store import open_ledger

    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    with open_ledger(tmp_path, "tuning", mode="drive") as ledger:
        ledger.ensure_cell("c1", "one cell", {})
        appended: list[int] = []
        append = Spool.append
        monkeypatch.setattr(
            Spool, "append", lambda self, events, **more: (appended.append(len(events)), append(self, events, **more))
        )
        with contextlib.suppress(RuntimeError), ledger.together():
            report_run(ledger, 1)
            raise RuntimeError("half way")
        assert len(appended) == 1
        ledger.flush()
        assert ledger.cells()["c1"].slots["search/f0/1"].state == "finished"


def test_the_spool_shrinks_while_events_keep_waiting(tmp_path: Path) -> None:
    spool = Spool(tmp_path)
    written = 0
    largest = 0
    data = {"role": "run", "id": "k", "text": "x" * 2**20}
    for number in range(1, 61):
        spool.append([("json", data)])
        written += 2**20
        largest = max(largest, (tmp_path / "events.jsonl").stat().st_size)
        if number > 4:
            spool.commit(number - 4)  # four always wait
    assert written > 3 * COMPACT_BYTES
    assert largest < COMPACT_BYTES + 8 * 2**20
    assert [event.number for event in spool.pending(10)] == [57, 58, 59, 60]
    spool.close()
    again = Spool(tmp_path)
    assert [event.number for event in again.pending(10)] == [57, 58, 59, 60]
    again.close()


def test_records_are_found_by_key_and_counted_as_they_change(tmp_path: Path) -> None:
    cell = planned(100, tmp_path).cells[0]
    state = CellState(cell, {}, (100,))
    for number in range(4):
        state.put(SlotRecord(slot=f"search/f0/{number}", key="a" if number < 2 else "b", scores={"selection": number}))
    assert state.twins("a") == ["search/f0/0", "search/f0/1"]
    before = state.remaining_s
    state.put(replace(state.slots["search/f0/3"], state="finished"))
    assert state.remaining_s < before
    assert state.winner(0) == state.slots["search/f0/3"]
    state.put(replace(state.slots["search/f0/1"], key="c", state="finished", scores={"selection": 9.0}))
    assert state.twins("a") == ["search/f0/0"]
    assert state.winner(0) == state.slots["search/f0/1"]
