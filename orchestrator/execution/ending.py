"""How the part with Ray ends: by itself, at the next checkpoints, or at once because nothing answers any more."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from orchestrator.errors import ClusterLostError, ExecutionError
from orchestrator.execution.sweep_state import SweepState


class Ending:
    """Waits for the Tuner, which would itself wait for ever where the cluster is gone or stuck."""

    def __init__(self, state: SweepState) -> None:
        self._state = state
        self._over = threading.Event()
        self._error: BaseException | None = None
        self._is_lost = False
        self._reason = ""
        self.is_hard = False
        self.hub: Any = None
        """The sweep's hub, once it is there."""

    def stop(self, reason: str, *, hard: bool = False, is_lost: bool = False) -> None:
        """End the sweep: at the next steps of its runs, or (`hard`) without waiting for anybody."""
        self._state.stop_reason = self._state.stop_reason or reason
        if hard:
            self._reason, self.is_hard, self._is_lost = reason, True, is_lost
            self._over.set()
        elif self.hub is not None:
            self.hub.stop.remote(reason)

    def wait_for(self, tune: Callable[[], None]) -> None:
        """Run the Tuner in a thread of its own; come back when it ends, or at a hard stop without it."""

        def target() -> None:
            try:
                tune()
            except BaseException as error:
                self._error = error
            finally:
                self._over.set()

        threading.Thread(target=target, daemon=True, name="tuner").start()
        while not self._over.wait(0.5):  # in steps, so that signals are taken
            pass
        if self._error is not None and not self.is_hard:
            raise self._error

    def raise_if_hard(self, *, is_local: bool, restarts: int) -> None:
        """Tell a hard stop.

        Raises:
            ClusterLostError: Ray has died.
            ExecutionError: nothing moves any more.
        """
        if not self.is_hard:
            return
        kept = "everything up to the newest checkpoints is kept; the same command goes on"
        if self._is_lost:
            raise ClusterLostError(
                f"{self._reason}; {kept}",
                is_local=is_local,
                had_progress=self._state.ended_segments > 0,
                restarts=restarts,
            )
        raise ExecutionError(f"{self._reason}; {kept}")
