"""The three hosts' report can fail: broken promises that are planted in what was seen are told."""

from __future__ import annotations

import pytest

from orchestrator.ledger.records import SlotRecord
from tests.faults.training_log import Line
from tests.three_hosts import ground
from tests.three_hosts.timeline import attempts, problems, repeated, summary, table
from tests.three_hosts.told import Told

SLOTS = {
    "in_domain/unet search/f0/0": SlotRecord(slot="search/f0/0", key="a", params={}, state="finished"),
    "in_domain/unet final/1": SlotRecord(slot="final/1", key="b", params={}, state="finished"),
}


def _steps(key: str, attempt: int, rank: int, first: int, last: int, begin_s: float) -> list[Line]:
    return [Line(begin_s + n - first, "step", key, attempt, rank, n, 1) for n in range(first, last + 1)]


@pytest.fixture
def told() -> Told:
    """Run a spans both hosts, is cut off at 110 s at step 10 with a checkpoint at 6, and ends on h1; then run b."""
    lines = {
        "h0": [],
        "h1": [
            *_steps("a", 1, 0, 1, 10, 101),
            Line(106.5, "saved", "a", 1, 0, 6, 1),
            *_steps("a", 2, 0, 7, 20, 150),
            *_steps("a", 2, 1, 7, 20, 150),
            *_steps("b", 1, 1, 1, 5, 220),
        ],
        "h2": [*_steps("a", 1, 1, 1, 10, 101), *_steps("b", 1, 0, 1, 5, 220)],
    }
    return Told(
        began_s=100,
        lines=lines,
        slots=SLOTS,
        cut_s=110.5,
        lost_s=140,
        back_s=200,
        second_s=210,
        unlike=[],
        cut_host="h2",
    )


def test_a_story_that_went_well_has_no_problem(told: Told) -> None:
    assert problems(told) == []
    assert summary(told)[-1].endswith("good")


def test_the_table_tells_hosts_of_ranks_and_steps_of_every_attempt(told: Told) -> None:
    first, second, third = attempts(told.lines, told.slots)
    assert (first.slot, first.hosts, first.last, first.saved) == ("in_domain/unet search/f0/0", ("h1", "h2"), 10, 6)
    assert (second.attempt, second.hosts, second.first) == (2, ("h1", "h1"), 7)
    assert third.hosts == ("h2", "h1")
    assert "h1 h2" in table(told)[1]


def test_an_attempt_that_goes_on_elsewhere_is_told_in_two_parts(told: Told) -> None:
    told.lines["h1"] += [*_steps("b", 1, 0, 6, 9, 300), *_steps("b", 1, 1, 6, 9, 300)]
    *_, before, after = attempts(told.lines, told.slots)
    assert (before.hosts, before.first, before.last) == (("h2", "h1"), 1, 5)
    assert (after.hosts, after.first, after.last) == (("h1", "h1"), 6, 9)


def test_steps_that_no_checkpoint_held_may_be_repeated_and_no_more(told: Told) -> None:
    assert (repeated(told.lines).steps, repeated(told.lines).allowed) == (4, 4)
    told.lines["h1"] += _steps("a", 3, 0, 1, 20, 180)
    assert any("steps were done again" in text for text in problems(told))


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"error": "`ray up` ended with 1"}, "`ray up` ended with 1"),
        ({"left": ["h1: 17 raylet"]}, "outlived `ray down`"),
        ({"unlike": None}, "not compared"),
        ({"unlike": ["slot 'x' is missing"]}, "slot 'x' is missing"),
        ({"cut_s": 99.0}, "no run was trained across hosts before the cut"),
        ({"back_s": 300.0}, "h2 trained nothing after it was back"),
    ],
)
def test_a_broken_promise_is_told(told: Told, change: dict[str, object], words: str) -> None:
    for name, value in change.items():
        setattr(told, name, value)
    assert any(words in text for text in problems(told))
    assert summary(told)[-1].endswith("FAILED")


def test_a_checkpoint_by_the_host_that_was_cut_off_is_told(told: Told) -> None:
    told.lines["h2"].append(Line(130, "saved", "a", 1, 1, 10, 1))
    assert any("wrote 1 checkpoints after the cut" in text for text in problems(told))


def test_without_a_tool_the_reason_names_the_package_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground.os, "geteuid", lambda: 0)
    monkeypatch.setattr(ground, "find", lambda tool: None if tool == "sshd" else f"/usr/bin/{tool}")
    assert "sshd not found" in ground.why_not()
    assert "apt-get install openssh-server" in ground.why_not()


def test_without_root_the_reason_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ground.os, "geteuid", lambda: 1000)
    assert "needs root" in ground.why_not()
