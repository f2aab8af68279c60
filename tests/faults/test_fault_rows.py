"""The fault matrix must not call a broken guarantee ok: planted violations are found."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from tests.faults.__main__ import FAULTS, main
from tests.faults.page import page
from tests.faults.rows import Row, verdict, violations
from tests.faults.training_log import Line, Repetition, first_step_after, read_lines, repetition, unsaved_steps


def _good() -> Row:
    return Row(
        name="driver-killed",
        title="driver killed",
        how="SIGKILL",
        when="2026-01-02 03:04",
        commit="abc1234",
        finished_before=3,
        steps_repeated=4,
        steps_allowed=4,
        statuses=[-9, 0],
        expected=[[-9], [0]],
        told="was left RUNNING",
        told_where="terminal",
        went_on="same command",
        same_slots=9,
        progress_s=1.5,
        seconds=60,
    )


def test_a_row_that_keeps_every_guarantee_is_ok() -> None:
    assert violations(_good()) == []
    assert verdict(_good()) == "ok"


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"lost": ["in_domain/unet 10% final/0"]}, "final/0"),
        ({"steps_repeated": 5}, "5 steps repeated, 4 were not in a checkpoint"),
        ({"told": ""}, "no line names the cause"),
        ({"statuses": [-9, 1]}, "command 2 ended with 1"),
        ({"statuses": [-9]}, "1 commands ended, 2 were expected"),
        ({"other_slots": ["in_domain/unet 10% final/0"]}, "not as in the undisturbed sweep"),
        ({"same_slots": 0}, "nothing to compare"),
        ({"problems": ["not measured: RigError"]}, "not measured"),
    ],
)
def test_every_broken_guarantee_is_found_and_shown(change: dict[str, object], word: str) -> None:
    row = replace(_good(), **change)
    assert verdict(row) == "violated"
    assert any(word in text for text in violations(row))
    assert "**(violated)**" in page([row], "command")
    assert word in page([row], "command")


def test_a_fault_that_was_not_injected_is_neither_ok_nor_violated() -> None:
    row = replace(_good(), not_run="needs root")
    assert verdict(row) == "not run"
    assert violations(row) == []
    text = page([row, _good()], "command")
    assert "not run: needs root" in text
    assert "hold for 1 of 2 faults; 0 break one, 1 were not run" in text


def test_rows_kept_in_a_file_decide_the_exit_status(tmp_path: Path) -> None:
    import json

    file, written = tmp_path / "rows.json", tmp_path / "faults.md"
    file.write_text(json.dumps([_good().to_json()]))
    assert main(["--page-only", "--json", str(file), "--write", str(written)]) == 0
    assert "| driver killed | SIGKILL | 0 of 3 | 4 of 4 | -9, then 0 |" in written.read_text()
    file.write_text(json.dumps([replace(_good(), lost=["one"]).to_json()]))
    assert main(["--page-only", "--json", str(file)]) == 1


def _run(key: str, attempt: int, steps: range, *, start_s: float, saved: tuple[int, ...] = ()) -> list[Line]:
    lines = []
    for number, step in enumerate(steps):
        lines.append(Line(start_s + number, "step", key, attempt, 0, step, attempt))
        if step in saved:
            lines.append(Line(start_s + number + 0.5, "saved", key, attempt, 0, step, attempt))
    return lines


def test_steps_after_the_last_checkpoint_may_be_repeated_and_no_others() -> None:
    first = _run("a", 1, range(1, 38), start_s=0, saved=(15, 30))
    assert repetition(first + _run("a", 2, range(31, 61), start_s=100)) == Repetition(7, 7)
    assert repetition(first + _run("a", 2, range(16, 61), start_s=100)) == Repetition(22, 7)
    assert repetition(first + _run("b", 1, range(1, 61), start_s=100)) == Repetition(0, 0)


def test_a_checkpoint_that_the_fault_destroyed_counts_as_never_written() -> None:
    lines = _run("a", 1, range(1, 38), start_s=0, saved=(15, 30)) + _run("a", 2, range(1, 61), start_s=100)
    assert repetition(lines) == Repetition(37, 7)
    assert repetition(lines, {("a", 1)}) == Repetition(37, 37)


def test_the_second_rank_does_not_count_twice() -> None:
    lines = _run("a", 1, range(1, 11), start_s=0)
    assert repetition(lines + [replace(line, rank=1) for line in lines]) == Repetition(0, 0)


def test_unsaved_steps_and_the_time_to_the_next_step_are_read_from_the_log(tmp_path: Path) -> None:
    lines = _run("a", 1, range(1, 38), start_s=0, saved=(15, 30))
    assert unsaved_steps(lines) == 7
    assert unsaved_steps(lines[:10]) == 10
    assert unsaved_steps(lines[:10], with_checkpoint=True) == 0
    assert first_step_after(lines, 30.2) == pytest.approx(0.8)
    assert first_step_after(lines, 30.2, orphans={1}) is None
    (tmp_path / "7.log").write_text("1.5 step a 1 0 3\n2.5 saved a 1 0 3\n3.5 st")
    assert read_lines(tmp_path) == [Line(1.5, "step", "a", 1, 0, 3, 7), Line(2.5, "saved", "a", 1, 0, 3, 7)]


def test_every_fault_has_a_name_of_its_own_and_says_how_it_is_injected() -> None:
    assert len({fault.name for fault in FAULTS}) == len(FAULTS)
    assert all(fault.how and fault.told and (fault.strike or fault.prepare or fault.plugins) for fault in FAULTS)
