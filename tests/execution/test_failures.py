"""Whom a failure is blamed on, and what becomes of the run."""

from __future__ import annotations

import errno
import multiprocessing
import os
import signal
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
from orchestrator.execution.failure_causes import failure_event
from orchestrator.execution.failures import verdict
from orchestrator.execution.local_ray import LocalRay, own_children
from orchestrator.execution.outcome import SweepOutcome, ending_on_signals
from orchestrator.execution.publish import Housekeeper
from orchestrator.execution.ray_start import RayStarter
from orchestrator.execution.tallies import SELECTION, best_final
from orchestrator.execution.watchdog import SILENT_LOOKS, Watchdog
from orchestrator.execution.worker_groups import WorkerGroups
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


@pytest.mark.parametrize(
    ("state", "cause", "is_kept"),
    [
        ("failed", "time_limit", True),
        ("failed", "out_of_memory", True),
        ("failed", "run_error", False),
        ("finished", "", False),
        ("stopped", "", False),
    ],
)
def test_a_run_that_failed_keeps_its_checkpoint_unless_it_was_wrong_itself(
    state: Any, cause: str, is_kept: bool, tmp_path: Path
) -> None:
    checkpoints.save(str(tmp_path), "key", 1, {"step": 7})
    keeper = Housekeeper(None, str(tmp_path))  # type: ignore[arg-type]
    keeper.run_closed(SlotRecord(slot="search/f0/0", key="key", state=state, cause=cause))
    keeper.close()
    assert not keeper.problems
    assert (checkpoints.load_newest(str(tmp_path), "key") is not None) is is_kept


def test_a_run_out_of_memory_is_tried_in_smaller_parts_as_long_as_its_batch_can_be_split() -> None:
    assert verdict("out_of_memory", 5, 3, can_split=True) == "split"
    assert verdict("out_of_memory", 1, 3, can_split=False) == "fail"


def test_a_run_that_lost_its_machines_has_used_up_none_of_its_attempts() -> None:
    assert verdict("node_lost", 2, 3, can_split=False, lost_nodes=19, max_lost_nodes=20) == "retry"
    assert verdict("node_lost", 0, 3, can_split=False, lost_nodes=21, max_lost_nodes=20) == "fail"
    assert verdict("lost", 3, 3, can_split=False, lost_nodes=0, max_lost_nodes=20) == "fail"


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


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGUSR1])
def test_a_signal_ends_the_sweep_resumably_the_warning_of_a_batch_system_too(number: signal.Signals) -> None:
    told: list[str] = []
    heard = threading.Event()
    outcome = SweepOutcome(name="sweep", folder=Path())

    def stop(reason: str) -> None:
        told.append(reason)
        heard.set()

    with ending_on_signals(stop, outcome):
        os.kill(os.getpid(), number)
        assert heard.wait(5)
    assert told == [f"interrupted by {number.name}"]
    assert outcome.exit_code == 130


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


def _imitate_ray(box: Any) -> None:
    """As Ray: a server that dies with the thread that starts it, and a start in which SIGTERM ends the process."""
    import ctypes
    import os
    import signal
    import sys
    from types import SimpleNamespace

    libc = ctypes.CDLL(None)
    server: list[subprocess.Popen[bytes]] = []
    heard_after: list[bool] = []
    is_up = threading.Event()

    def start_server() -> None:
        server.append(subprocess.Popen(["sleep", "60"], preexec_fn=lambda: libc.prctl(1, signal.SIGKILL, 0, 0, 0)))

    services = SimpleNamespace(start_ray_process=start_server)

    def init(**_: Any) -> None:
        services.start_ray_process()
        libc.signal(signal.SIGTERM, 0)  # the default: the end
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        is_up.set()

    for name, module in {"ray": SimpleNamespace(init=init), "ray._private": SimpleNamespace(services=services)}.items():
        sys.modules[name] = module  # type: ignore[assignment]
    signal.signal(signal.SIGTERM, lambda *_: heard_after.append(is_up.is_set()))
    starter = RayStarter({})
    starter.start()
    starter.wait()
    status = Path(f"/proc/{server[0].pid}/status").read_text()
    blocked = int(status.split("SigBlk:")[1].split()[0], 16)
    time.sleep(0.3)
    lived = server[0].poll() is None
    starter.let_go()
    server[0].wait(5)
    box.put((heard_after, bool(blocked & 1 << signal.SIGTERM - 1), lived, server[0].returncode))


def test_a_sigterm_while_ray_starts_is_heard_afterwards_and_its_servers_live_until_it_is_left() -> None:
    context = multiprocessing.get_context("spawn")
    box = context.Queue()
    process = context.Process(target=_imitate_ray, args=(box,))
    process.start()
    assert box.get(timeout=60) == ([True], False, True, -9)
    process.join()
