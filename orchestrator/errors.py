"""The errors a user can meet. Every text says: the bad value, what is allowed, what to do."""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class SweepError(Exception):
    """Base of every error that is the tool's own; `exit_code` is the process's exit status."""

    exit_code = 1


class ConfigError(SweepError):
    """Wrong usage or configuration: nothing was started."""

    exit_code = 2


class DataError(SweepError):
    """A data set's files are absent, damaged, or do not agree with each other."""


class PreparedDataError(DataError):
    """A prepared store is absent or damaged: the next start makes it again, no run is to blame."""


class WeightsError(SweepError):
    """A checkpoint is absent, damaged, or does not fit the model."""


class LedgerError(SweepError):
    """The ledger cannot be opened, is held by another driver, or refuses a write."""

    exit_code = 2


class StorageError(SweepError):
    """Checkpoints or models cannot be read or written: the place is to blame, not the run."""


class FeasibilityError(ConfigError):
    """The cluster can never give what a run asks for."""


class ExecutionError(SweepError):
    """The sweep had to stop: no progress, the cluster died, or the same error came again and again."""


class ClusterLostError(ExecutionError):
    """Ray died under the sweep; everything up to the newest checkpoints is kept."""

    def __init__(self, text: str, *, is_local: bool, had_progress: bool, restarts: int) -> None:
        super().__init__(text)
        self.is_local = is_local
        """Whether the Ray was this command's own, so that it can be started anew."""
        self.had_progress = had_progress
        """Whether a segment of a run was finished since Ray was started."""
        self.restarts = restarts
        """How often in a row it may be started anew without progress."""


def unknown(kind: str, name: str, known: Iterable[str], *, hint: str = "") -> ConfigError:
    """A ConfigError for an unknown name, with the nearest known name and the allowed ones.

    Args:
        kind: what the name stands for, for example "strategy".
        name: the name that was given.
        known: all names that would have been accepted.
        hint: a last sentence that says what to do.
    """
    names = sorted(known)
    near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
    guess = f" Did you mean {near[0]!r}?" if near else ""
    allowed = f" Known: {', '.join(names)}." if names else ""
    return ConfigError(f"unknown {kind} {name!r}.{guess}{allowed}{' ' + hint if hint else ''}")
