"""The hub's book-keeping of worker groups and runs, without Ray: what counts against a group, what is refused."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orchestrator.execution.hub import STALE, Hub
from orchestrator.execution.hub_records import SAVE_NOW
from orchestrator.execution.idle_groups import IdleGroups

PLACES = [{"node_id": "n", "host": "h", "pid": 1}]
REACHED = {"kind": "reached", "step": 1}


async def _with_a_run(lease_id: str = "run") -> Hub:
    hub = Hub()
    await hub.enter("group", PLACES)
    assert await hub.lease(lease_id, {}) == "group"
    return hub


def test_runs_that_the_watchdog_ends_do_not_count_as_fruitless_restarts_of_their_group() -> None:
    async def five_runs_over_their_limit() -> dict[str, Any]:
        hub = Hub()
        await hub.enter("group", PLACES)
        for number in range(5):
            await hub.lease(f"run-{number}", {})
            generation = (await hub.condition())["groups"]["group"]["generation"]
            assert await hub.give_up("group", generation, f"run-{number}", "time_limit", "over its limit")
            assert (await hub.event(f"run-{number}"))["kind"] == "failed"
            await hub.enter("group", PLACES)
        return await hub.condition()

    assert asyncio.run(five_runs_over_their_limit())["fruitless_restarts"] == {}


def test_a_group_that_dies_again_and_again_without_a_run_is_counted() -> None:
    async def dies() -> dict[str, Any]:
        hub = Hub()
        for _ in range(4):
            await hub.enter("group", PLACES)
        return await hub.condition()

    assert asyncio.run(dies())["fruitless_restarts"] == {"group": 3}


def test_a_run_is_not_blamed_for_a_machine_that_went_away() -> None:
    async def causes() -> list[str | None]:
        taken: set[str] = set()
        hub = Hub(lambda: taken)
        told = []
        for number, gone in enumerate([set(), {"n"}, {"other"}]):
            await hub.enter("group", PLACES)
            await hub.lease(f"run-{number}", {})
            taken.clear()
            taken.update(gone)
            await hub.enter("group", PLACES)
            told.append((await hub.event(f"run-{number}")).get("cause"))
            await hub.finished("group", (await hub.condition())["groups"]["group"]["generation"], "none", REACHED)
            hub._idle = IdleGroups()
        return told

    assert asyncio.run(causes()) == [None, "node_lost", None]


def test_a_rank_that_hangs_because_a_peers_machine_is_gone_is_not_blamed_either() -> None:
    async def cause() -> str:
        hub = Hub(lambda: {"far"})
        await hub.enter("group", [*PLACES, {"node_id": "far", "host": "f", "pid": 2}])
        await hub.lease("run", {})
        assert await hub.give_up("group", 0, "run", "stalled", "no step")
        return str((await hub.event("run"))["cause"])

    assert asyncio.run(cause()) == "node_lost"


def test_steps_that_no_checkpoint_holds_when_a_group_dies_are_told_as_lost() -> None:
    async def ends() -> list[dict[str, Any]]:
        hub = await _with_a_run("first")
        await hub.report("group", 0, "first", {"kind": "progress", "step": 100, "points": []})
        await hub.report("group", 0, "first", {"kind": "tick", "step": 130, "saved_step": 100})
        await hub.enter("group", PLACES)
        await hub.event("first")
        lost = await hub.event("first")
        await hub.lease("second", {})
        await hub.report("group", 1, "second", {"kind": "tick", "step": 40, "saved_step": 0})
        await hub.finished("group", 1, "second", {**REACHED})
        return [lost, await hub.event("second")]

    lost, reached = asyncio.run(ends())
    assert (lost["kind"], lost["lost_steps"]) == ("lost", 30)
    assert "lost_steps" not in reached


def test_a_run_on_a_machine_that_is_about_to_go_is_told_once_to_save_and_goes_on() -> None:
    async def answers() -> list[str]:
        hub = await _with_a_run()
        await hub.save_soon("run")
        events = [{"kind": "tick"}, {"kind": "tick", "can_save": True}, {"kind": "tick", "can_save": True}]
        return [await hub.report("group", 0, "run", event) for event in events]

    assert asyncio.run(answers()) == ["", SAVE_NOW, ""]


def test_a_group_that_took_another_run_meanwhile_is_not_given_up() -> None:
    async def too_late() -> None:
        hub = await _with_a_run("first")
        await hub.finished("group", 0, "first", REACHED)
        await hub.lease("second", {})
        assert not await hub.give_up("group", 0, "first", "stalled", "no step")
        assert not await hub.give_up("group", 0, None, "lost", "silent")
        assert await hub.report("group", 0, "second", {"kind": "tick"}) == ""
        assert await hub.give_up("group", 0, "second", "stalled", "no step")
        assert await hub.next_job("group", 0, 2) == STALE

    asyncio.run(too_late())


def test_a_run_is_handed_to_a_group_of_its_own_shape_alone() -> None:
    async def two_shapes() -> None:
        hub = Hub()
        await hub.enter("small", PLACES, "1x1c0g")
        waits = asyncio.ensure_future(hub.lease("run", {"shape": "2x1c0g"}))
        await asyncio.sleep(0.05)
        assert not waits.done()
        assert (await hub.standing())["waiting"] == {"2x1c0g": 1}
        await hub.enter("big", PLACES, "2x1c0g")
        assert await waits == "big"
        standing = await hub.standing()
        assert standing["waiting"] == {}
        assert standing["idle_s"]["small"] >= 0
        assert standing["idle_s"]["big"] is None

    asyncio.run(two_shapes())


def test_a_group_that_is_sent_home_ends_its_run_and_gets_no_other() -> None:
    async def leaves() -> None:
        hub = await _with_a_run()
        await hub.send_home("group")
        assert (await hub.next_job("group", 0, 0))["lease_id"] == "run"  # type: ignore[index]
        waits = asyncio.ensure_future(hub.lease("next", {}))
        await hub.finished("group", 0, "run", REACHED)
        assert await hub.next_job("group", 0, 1) is None
        await hub.enter("other", PLACES)
        assert await waits == "other"
        await hub.send_home("late")  # one that has not come yet leaves as soon as it comes
        assert await hub.next_job("late", await hub.enter("late", PLACES), 0) is None
        assert "group" not in (await hub.condition())["groups"]

    asyncio.run(leaves())


def test_an_idle_group_that_is_sent_home_is_not_leased_any_more() -> None:
    async def leaves() -> None:
        hub = Hub()
        await hub.enter("group", PLACES)
        await hub.send_home("group")
        waits = asyncio.ensure_future(hub.lease("run", {}))
        await asyncio.sleep(0.05)
        assert not waits.done()
        await hub.enter("other", PLACES)
        assert await waits == "other"

    asyncio.run(leaves())


def test_the_error_of_a_start_is_forgotten_once_the_group_has_started() -> None:
    async def starts_in_the_end() -> None:
        hub = Hub()
        await hub.cannot_start("group", "ImportError: not there yet")
        assert (await hub.condition())["start_errors"]
        await hub.enter("group", PLACES)
        assert not (await hub.condition())["start_errors"]

    asyncio.run(starts_in_the_end())


def test_a_run_is_forgotten_once_its_end_was_told_and_its_late_words_are_refused() -> None:
    async def told() -> None:
        hub = await _with_a_run()
        await hub.report("group", 0, "run", {"kind": "progress", "step": 1})
        await hub.finished("group", 0, "run", REACHED)
        assert [(await hub.event("run"))["kind"] for _ in range(2)] == ["progress", "reached"]
        assert not hub._leases
        assert await hub.report("group", 0, "run", {"kind": "tick"}) == "this attempt is over"
        await hub.stop("told to")  # finds nothing to cancel
        times = await hub.times()
        assert times["first_lease_at"] <= times["last_end_at"]

    asyncio.run(told())


@pytest.mark.parametrize("is_busy", [True, False])
def test_a_group_that_works_keeps_its_silent_run_alive(is_busy: bool) -> None:
    async def beats() -> float:
        hub = await _with_a_run()
        hub._leases["run"].heard_at -= 100
        await hub.alive("group", 0, is_busy=is_busy)
        return float((await hub.condition())["leases"]["run"]["silent_s"])

    assert (asyncio.run(beats()) < 50) is is_busy
