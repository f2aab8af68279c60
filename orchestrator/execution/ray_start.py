"""Ray's first and last moments: its start in a thread that outlives it, and parting from one that may not answer."""

from __future__ import annotations

import contextlib
import logging
import os
import signal
import threading
from collections.abc import Collection, Iterator
from typing import TYPE_CHECKING, Any

from orchestrator.errors import ClusterLostError
from orchestrator.execution.local_ray import LocalRay

if TYPE_CHECKING:
    import psutil

SHUTDOWN_WAIT_S = 5.0
LOOK_S = 0.1


@contextlib.contextmanager
def _deaf() -> Iterator[None]:
    """This thread does not take SIGTERM; one that comes to the process waits until a thread does."""
    former = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, former)


@contextlib.contextmanager
def _deaf_but_for_servers() -> Iterator[None]:
    """Make this thread deaf to SIGTERM, and with it the C++ threads that Ray starts; only its servers hear the signal.

    Threads and processes inherit what is blocked in the thread that starts them.
    """
    from ray._private import services

    start = services.start_ray_process

    def hearing(*arguments: Any, **settings: Any) -> Any:
        former = signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
        try:
            return start(*arguments, **settings)
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, former)

    services.start_ray_process = hearing
    # For good: until the main thread has taken the signal back, it is Ray's, and ends the process.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    try:
        yield
    finally:
        services.start_ray_process = start


class RayStarter(threading.Thread):
    """Starts or joins Ray in a thread that lives as long as it.

    In the main thread `ray.init` would take SIGTERM for itself. And the kernel kills Ray's servers when the thread
    that started them ends, not only with its process (PR_SET_PDEATHSIG), so this one waits until Ray is left.
    """

    def __init__(self, settings: dict[str, Any]) -> None:
        super().__init__(name="ray-init", daemon=True)
        self._settings = settings
        self._is_up, self._is_left = threading.Event(), threading.Event()
        self.error: BaseException | None = None

    def run(self) -> None:
        import ray

        try:
            with _deaf_but_for_servers():
                ray.init(
                    namespace="hsfm-sweep",
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    configure_logging=False,
                    **self._settings,
                )
        except BaseException as error:
            self.error = error
        finally:
            self._is_up.set()
        self._is_left.wait()

    def wait(self) -> None:
        """Wait until Ray is up or has failed to come up; SIGTERM stays what it is.

        Ray's C++ part makes the signal its own, and would end the process with it. It holds Python's lock from then
        until it is connected, so nothing can be taken back meanwhile: this thread is deaf, and takes the signal back
        before it hears again.
        """
        is_main = threading.current_thread() is threading.main_thread()
        former = signal.getsignal(signal.SIGTERM)
        with _deaf():
            while not self._is_up.wait(LOOK_S):  # in steps, so that SIGINT is taken
                pass
            if is_main:
                signal.signal(signal.SIGTERM, former)

    def let_go(self) -> None:
        """Ray is left: what of it still lives goes with this thread."""
        self._is_left.set()
        self.join(SHUTDOWN_WAIT_S)


def start_ray(settings: dict[str, Any], before: Collection[psutil.Process] | None, *, restarts: int) -> RayStarter:
    """Start or join Ray.

    Args:
        settings: of `ray.init`.
        before: children of this process before Ray; None = a cluster is joined.
        restarts: how often in a row a local Ray may be started anew.

    Raises:
        ClusterLostError: it did not come up.
    """
    logging.getLogger("ray._private.worker").addFilter(lambda record: "SIGTERM handler" not in record.getMessage())
    starter = RayStarter(settings)
    starter.start()
    try:
        starter.wait()
    except BaseException:  # a second interrupt: nobody will use what comes up
        starter.let_go()
        raise
    if starter.error is None:
        return starter
    starter.let_go()
    is_local = before is not None
    if before is not None:
        LocalRay(before).end_all()
    where = "on this machine did not start" if is_local else f"at {os.environ['RAY_ADDRESS']} cannot be joined"
    text = str(starter.error).strip().split("\n")[0][:300]
    raise ClusterLostError(
        f"Ray {where}: {type(starter.error).__name__}: {text}",
        is_local=is_local,
        had_progress=False,
        restarts=restarts,
    ) from starter.error


def leave_ray(processes: LocalRay | None) -> None:
    """Part from a Ray that may not answer: a shutdown would wait for it."""
    import ray

    if processes is not None:
        processes.end_all()
    thread = threading.Thread(target=ray.shutdown, daemon=True, name="ray-shutdown")
    thread.start()
    thread.join(SHUTDOWN_WAIT_S)
