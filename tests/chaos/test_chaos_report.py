"""The chaos run's check can fail: differences that are planted in copies of a finished sweep are found."""

from __future__ import annotations

import json
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pyarrow as pa
import pytest
from made_results import made_run

from orchestrator.analysis.results import read_parquet, results_table, write_parquet
from orchestrator.ledger.records import SlotRecord
from orchestrator.ledger.store import open_ledger
from tests.chaos import compare
from tests.chaos.schedule import KINDS, REPORT, START_UP, WORK, PlannedKill, draw_schedule
from tests.chaos.shake import Shaken
from tests.chaos.strike import Hit
from tests.chaos.timeline import problems_of
from tests.chaos.watch import InFlight
from tests.chaos.work import costs, losses
from tests.faults.training_log import Line

NAME = "chaos"
SLOTS = {
    "in_domain/unet search/f0/0": SlotRecord(
        slot="search/f0/0", key="k0", params={"lr": 0.1}, state="finished", reached_step=40, scores={"val/miou": 0.4}
    ),
    "in_domain/unet search/f0/1": SlotRecord(
        slot="search/f0/1", key="k1", params={"lr": 0.2}, state="stopped", reached_step=20, scores={"val/miou": 0.3}
    ),
    "in_domain/unet final/0": SlotRecord(
        slot="final/0", key="k2", params={"lr": 0.1}, state="finished", reached_step=40, scores={"test/miou": 0.5}
    ),
}


@pytest.fixture(scope="module")
def calm(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished sweep of three runs: a real ledger and a real results table."""
    folder = tmp_path_factory.mktemp("calm") / NAME
    with open_ledger(folder, NAME, mode="drive") as ledger:
        ledger.ensure_cell("c1", "in_domain/unet", {"hsfm.strategy": "in_domain/unet"})
        for record in SLOTS.values():
            ledger.put_slot("c1", record)
            ledger.start_run(record.key, "c1", record.slot, 1, [record.slot], {"hsfm.stage": "x"}, {"lr": 0.1})
            for step in (20, 40):
                ledger.log_metrics(record.key, step, {"val/miou": step / 100}, 1_000 * step)
            ledger.log_metrics(record.key, 40, {"cost/wall_s": 3.0}, 50_000)
            ledger.end_run(record.key, "stopped" if record.state == "stopped" else "finished")
        ledger.set_cell("c1", state="done", tags={"hsfm.model": "k2", "hsfm.model_slot": "final/0"})
        ledger.flush()
    rows = [made_run("in_domain/unet", seed=seed) for seed in (0, 1)]
    write_parquet(results_table(rows), folder / "report" / "results.parquet")
    return folder


@pytest.fixture
def shaken(calm: Path, tmp_path: Path) -> Path:
    """A copy, to plant differences in."""
    return Path(shutil.copytree(calm, tmp_path / NAME))


def _sql(folder: Path, statement: str, *values: object) -> None:
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection, connection:
        assert connection.execute(statement, values).rowcount > 0, "nothing was planted"


def _change_slot(folder: Path, slot: str, **changes: object) -> None:
    tag = f"hsfm.slot.{slot}"
    with closing(sqlite3.connect(folder / "mlflow.db")) as connection:
        ((text,),) = connection.execute("select value from tags where key = ?", (tag,)).fetchall()
    _sql(folder, "update tags set value = ? where key = ?", json.dumps({**json.loads(text), **changes}), tag)


def test_a_copy_has_no_differences(calm: Path, shaken: Path) -> None:
    assert compare.differences(calm, shaken, NAME, [SLOTS]) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"scores": {"val/miou": 0.4000001}}, "scores is"),
        ({"params": {"lr": 0.3}}, "params is"),
        ({"key": "k9"}, "key is"),
        ({"reached_step": 20}, "reached_step is"),
        ({"state": "running"}, "state is"),
    ],
)
def test_a_changed_slot_is_found(calm: Path, shaken: Path, changes: dict[str, object], told: str) -> None:
    _change_slot(shaken, "search/f0/0", **changes)
    found = compare.differences(calm, shaken, NAME)
    assert any("search/f0/0" in text and told in text for text in found), found


def test_another_winner_is_found(calm: Path, shaken: Path) -> None:
    _sql(shaken, "update tags set value = 'k0' where key = 'hsfm.model'")
    assert any("hsfm.model is k0, undisturbed k2" in text for text in compare.differences(calm, shaken, NAME))


def test_a_finished_run_that_was_run_again_is_found_though_its_scores_are_the_same(calm: Path, shaken: Path) -> None:
    _change_slot(shaken, "final/0", attempt=2)
    assert compare.differences(calm, shaken, NAME) == []  # attempts may differ: one that was killed has more
    (found,) = compare.differences(calm, shaken, NAME, [{}, SLOTS])
    assert "was finished in attempt 1 before kill 2 and was run again: attempt 2" in found


def test_a_run_that_is_left_running_is_found(calm: Path, shaken: Path) -> None:
    _sql(shaken, "update runs set status = 'RUNNING' where name = 'final/0'")
    found = compare.differences(calm, shaken, NAME)
    assert "MLflow run 'final/0' is still RUNNING" in found


def test_a_second_mlflow_run_of_one_key_is_found(calm: Path, shaken: Path) -> None:
    _sql(shaken, "update tags set value = 'k2' where key = 'hsfm.key' and value = 'k0'")
    found = compare.differences(calm, shaken, NAME)
    assert any("final/0" in text and "['FINISHED', 'FINISHED']" in text for text in found), found
    assert any("search/f0/0" in text and "no run" in text for text in found), found


def test_metric_points_that_are_missing_or_doubled_are_found(calm: Path, shaken: Path) -> None:
    _sql(shaken, "delete from metrics where key = 'val/miou' and step = 20")
    _sql(shaken, "update metrics set value = 99 where key = 'cost/wall_s'")  # seconds may differ
    found = compare.differences(calm, shaken, NAME)
    assert len(found) == 3, found
    assert all("lacks 1 metric points, such as val/miou = 0.2000 at step 20" in text for text in found)


def test_a_changed_score_in_the_results_table_is_found(calm: Path, shaken: Path) -> None:
    path = shaken / "report" / "results.parquet"
    table = read_parquet(path)
    rows = table.to_pylist()
    rows[0]["test_miou"], rows[1]["wall_s"] = 0.123, 12345.0
    write_parquet(pa.Table.from_pylist(rows, schema=table.schema), path)
    (found,) = compare.differences(calm, shaken, NAME)
    assert "test_miou" in found
    assert "0.123" in found
    path.unlink()
    assert compare.differences(calm, shaken, NAME) == ["there is no results table results.parquet"]


# ---- work that was done again


def _steps(attempt: int, pid: int, first: int, last: int, *, saved: int = 0, at_s: float = 0.0) -> list[Line]:
    lines = [Line(at_s + s, "step", "k0", attempt, 0, s, pid) for s in range(first, last + 1)]
    return lines + ([Line(at_s + saved + 0.5, "saved", "k0", attempt, 0, saved, pid)] if saved else [])


def _hit(kind: str, at_s: float, *, attempt: int, step: int) -> Hit:
    run = InFlight(slot="in_domain/unet search/f0/0", key="k0", attempt=attempt, step=step, checkpoint=20, pids=(7,))
    return Hit(
        plan=PlannedKill(number=1, kind=kind, moment=WORK),
        at_s=at_s,
        pids=(7,),
        stage="search",
        in_flight=[run],
        closed={},
        mark=(1, 0),
        descendants=[],
    )


def test_repeated_steps_are_counted_from_the_newest_checkpoint() -> None:
    lines = _steps(1, 7, 1, 33, saved=20) + _steps(2, 8, 21, 40, at_s=100)
    (loss,) = losses(lines, SLOTS)
    assert (loss.reached, loss.checkpoint, loss.resumed, loss.repeated, loss.limit) == (33, 20, 20, 13, 13)
    (cost,) = costs([_hit("worker", 33.5, attempt=1, step=33)], lines, [(121.0, "k0", 2)], SLOTS)
    assert cost.losses == [loss]
    assert cost.reaction_s == pytest.approx(87.5)


def test_work_that_a_checkpoint_held_and_was_done_again_is_a_problem() -> None:
    lines = _steps(1, 7, 1, 33, saved=20) + _steps(2, 8, 1, 40, at_s=100)
    hit = _hit("driver", 33.5, attempt=1, step=33)
    found = costs([hit], lines, [], SLOTS)
    (problem,) = problems_of(Shaken(0.0, hits=[hit]), found, asked=1)
    assert "did 33 steps again" in problem
    assert "allows 13" in problem


def test_fewer_kills_than_asked_is_a_problem() -> None:
    assert problems_of(Shaken(0.0), [], asked=2) == ["only 0 of 2 kills fell"]


# ---- the schedule


@pytest.mark.parametrize("count", [1, 4, 6, 20, 50])
def test_a_schedule_has_the_kills_that_were_asked_for_spread_over_the_work(count: int) -> None:
    kills = draw_schedule(count, KINDS, seed=3)
    assert [k.number for k in kills] == list(range(1, count + 1))
    shares = [k.share for k in kills if k.moment == WORK]
    assert shares == sorted(shares)
    if count >= 20:
        assert {k.kind for k in kills} == set(KINDS)
        assert {START_UP, REPORT} < {k.moment for k in kills}
        assert min(shares) < 0.1
        assert max(shares) > 0.85
    assert kills == draw_schedule(count, KINDS, seed=3)
    assert count < 4 or kills != draw_schedule(count, KINDS, seed=4)
