"""Whom a failure is blamed on, and what becomes of the run."""

from __future__ import annotations

import errno
import multiprocessing
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest

from orchestrator.config import ExecutionConfig
from orchestrator.errors import PreparedDataError, StorageError
from orchestrator.execution import checkpoints
from orchestrator.execution.cluster import WorkerGroups
from orchestrator.execution.failures import verdict
from orchestrator.execution.local_ray import LocalRay, own_children
from orchestrator.execution.ray_start import RayStarter
from orchestrator.execution.tallies import SELECTION, best_final
from orchestrator.execution.watchdog import SILENT_LOOKS, Watchdog
from orchestrator.execution.worker_group import failure_event
from orchestrator.ledger.records import SlotRecord


@pytest.mark.parametrize(
    ("error", "cause"),
    [
        (FileNotFoundError(errno.ENOENT, "No such file", "priors.npy"), "run_error"),
        (PermissionError(errno.EACCES, "Permission denied", "priors.npy"), "run_error"),
        (OSError(errno.ENOSPC, "No space left on device"), "storage"),
        (OSError(errno.ESTALE, "Stale file handle"), "storage"),
        (StorageError("checkpoint cannot be written"), "storage"),
        (PreparedDataError("cut off"), "storage"),
        (ConnectionResetError(errno.ECONNRESET, "Connection reset by peer"), "lost"),
        (MemoryError(), "out_of_memory"),
        (ValueError("shapes"), "run_error"),
    ],
)
def test_only_a_disk_that_fails_is_blamed_on_the_storage(error: Exception, cause: str) -> None:
    assert failure_event(error)["cause"] == cause


def test_a_checkpoint_that_cannot_be_written_or_read_is_the_storages_fault(tmp_path: Path) -> None:
    (tmp_path / "key").write_text("a file where the run's folder should be")
    with pytest.raises(StorageError, match="attempt-1/last.pt cannot be written"):
        checkpoints.save(str(tmp_path), "key", 1, {"step": 1})
    (tmp_path / "other" / "attempt-1" / "last.pt").mkdir(parents=True)
    assert checkpoints.load_newest(str(tmp_path), "other") is None
    with pytest.raises(StorageError, match="cannot be read"):
        checkpoints.load_newest(str(tmp_path), "key")


def test_a_run_out_of_memory_is_tried_in_smaller_parts_as_long_as_its_batch_can_be_split() -> None:
    assert verdict("out_of_memory", 5, 3, can_split=True) == "split"
    assert verdict("out_of_memory", 1, 3, can_split=False) == "fail"


def test_a_final_run_without_a_score_is_never_better_than_one_with_a_bad_score() -> None:
    def final(seed: int, **scores: float) -> SlotRecord:
        return SlotRecord(slot=f"final/{seed}", key=f"{seed}" * 16, state="finished", scores=scores)

    bad, none = final(1, **{SELECTION: -0.2}), final(0)
    assert best_final({"final/0": none, "final/1": bad}) is bad
    assert best_final({"final/0": none}) is none


# ---- what ends a sweep


class _Answers:
    """Stands for a handle of the hub: every call raises what Ray would."""

    def __init__(self, error: Exception) -> None:
        self._error = error

    def __getattr__(self, name: str) -> Any:
        raise self._error


def _watch(error: Exception) -> list[str]:
    told: list[str] = []
    over = threading.Event()

    def stop(reason: str, *, hard: bool = False, is_lost: bool = False) -> None:
        told.append(f"{reason} {hard=} {is_lost=}")
        over.set()

    watchdog = Watchdog(_Answers(error), None, ExecutionConfig(), stop, lambda: "", None)  # type: ignore[arg-type]
    watchdog._service.missing = lambda: ""  # type: ignore[method-assign]
    watchdog.start()
    assert over.wait(SILENT_LOOKS + 10)
    watchdog.end()
    return told


def test_a_watchdog_that_fails_ends_the_sweep_with_a_message() -> None:
    assert _watch(KeyError("group-0")) == [
        "the watchdog of the sweep failed (KeyError: 'group-0'); please report it hard=True is_lost=False"
    ]


def test_a_ray_that_does_not_answer_in_any_of_the_watchdogs_calls_is_lost() -> None:
    from ray.exceptions import GetTimeoutError

    assert _watch(GetTimeoutError("late")) == [
        "the Ray cluster does not answer any more (GetTimeoutError) hard=True is_lost=True"
    ]


def test_worker_groups_that_do_not_leave_are_waited_for_once_and_not_one_after_another() -> None:
    groups = object.__new__(WorkerGroups)
    forever = threading.Event()
    groups._threads = [threading.Thread(target=forever.wait, daemon=True) for _ in range(5)]
    for thread in groups._threads:
        thread.start()
    began = time.monotonic()
    groups.join(0.2)
    forever.set()
    assert time.monotonic() - began < 0.8


def test_only_what_came_with_ray_is_killed_at_its_end() -> None:
    """A notebook's own servers, and the shell of the last words, outlive the Ray that a sweep started."""
    own = subprocess.Popen(["sleep", "60"])
    before = own_children()
    of_ray = subprocess.Popen(["sh", "-c", "sleep 60 & wait"])
    try:
        while not (below := psutil.Process(of_ray.pid).children()):
            time.sleep(0.01)
        LocalRay(before).end_all()
        of_ray.wait(5)
        assert not below[0].is_running() or below[0].status() == psutil.STATUS_ZOMBIE
        assert own.poll() is None
    finally:
        own.kill()
        own.wait()


def _starts_a_child(box: Any) -> None:
    """Ray is imitated by a process that dies with the thread that starts it, as its servers do."""
    import ctypes
    import sys
    import types

    children: list[subprocess.Popen[bytes]] = []

    def init(**_: Any) -> None:
        kill_with_parent = lambda: ctypes.CDLL(None).prctl(1, 9, 0, 0, 0)  # noqa: E731
        children.append(subprocess.Popen(["sleep", "60"], preexec_fn=kill_with_parent))

    sys.modules["ray"] = types.SimpleNamespace(init=init)  # type: ignore[assignment]
    starter = RayStarter({})
    starter.start()
    starter.wait()
    time.sleep(0.5)
    lived = children[0].poll() is None
    starter.let_go()
    children[0].wait(5)
    box.put((lived, children[0].returncode))


def test_the_servers_of_ray_live_as_long_as_it_is_used_and_no_longer() -> None:
    context = multiprocessing.get_context("spawn")
    box = context.Queue()
    process = context.Process(target=_starts_a_child, args=(box,))
    process.start()
    assert box.get(timeout=60) == (True, -9)
    process.join()
