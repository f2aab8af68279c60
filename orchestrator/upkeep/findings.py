"""What a check of `doctor` says, and how checks are run: each for itself, none can end the others."""

from __future__ import annotations

import shlex
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from orchestrator.api_plan import view_sweep
from orchestrator.config import GridConfig, own_storage, storage_of
from orchestrator.config.secrets import mask_secrets
from orchestrator.datasets.locations import DataLocations
from orchestrator.errors import SweepError
from orchestrator.ledger.location import StoreLocation, resolve_location
from orchestrator.plan.planned import Plan
from orchestrator.upkeep.resources import existing

Result = Literal["ok", "warning", "failure"]
RESULTS: tuple[Result, ...] = ("ok", "warning", "failure")
SCHEMA = 1


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at."""

    check: str
    """What was looked at, in a word or three."""
    result: Result
    found: str
    mend: str = ""
    """The command, or the setting, that mends it; empty where nothing needs mending."""

    def masked(self) -> Finding:
        return Finding(self.check, self.result, mask_secrets(self.found), mask_secrets(self.mend))


@dataclass(kw_only=True)
class Subject:
    """What is looked at: a grid's sweep, or the machine alone."""

    grid: GridConfig | None
    locations: DataLocations
    sweep_root: Path
    tracking_uri: str | None
    arguments: tuple[str, ...] = ()
    """The options that name this sweep on the command line, for the commands that mend."""
    _plan: Plan | None = None
    _planning: threading.Lock = field(default_factory=threading.Lock)

    @property
    def folder(self) -> Path:
        """The sweep's folder; the folder of all sweeps where no grid was given."""
        return self.sweep_root / self.grid.name if self.grid else self.sweep_root

    @property
    def storage(self) -> str:
        """Where checkpoints go."""
        return storage_of(self.grid, self.folder) if self.grid else own_storage(self.folder)

    def location(self) -> StoreLocation:
        """The tracking store.

        Raises:
            LedgerError: one that is not supported.
        """
        return resolve_location(self.folder, self.tracking_uri)

    def plan(self) -> Plan:
        """The plan as if nothing had run: it must not wait for a tracking server.

        Made once: checks run side by side, and strategies and data sets are imported by it.

        Raises:
            ConfigError: a name or a value in the grid that is not allowed.
        """
        assert self.grid is not None
        with self._planning:
            if self._plan is None:
                nothing = f"sqlite:///{existing(self.sweep_root).resolve()}/.hsfm-doctor-no-such-ledger.db"
                self._plan = view_sweep(self.grid, self.locations, self.sweep_root, nothing).plan
            return self._plan

    def command(self, verb: str) -> str:
        """A command on this sweep."""
        return shlex.join(["hsfm-sweep", verb, *self.arguments])


Check = Callable[[Subject], Iterable[Finding]]


def run_checks(checks: Sequence[Check], subject: Subject, *, in_threads: bool = True) -> list[Finding]:
    """All findings in the order of the checks, which run side by side; secrets are masked."""
    if in_threads:
        with ThreadPoolExecutor(max_workers=max(1, len(checks))) as pool:
            groups = list(pool.map(lambda check: _run(check, subject), checks))
    else:
        groups = [_run(check, subject) for check in checks]
    return [finding.masked() for group in groups for finding in group]


def _run(check: Check, subject: Subject) -> list[Finding]:
    done: list[Finding] = []
    try:
        done.extend(check(subject))
    except SweepError as error:
        done.append(Finding(_name(check), "failure", str(error)))
    except Exception as error:  # a doctor that falls over cannot say what else is wrong
        text = f"this check could not be made: {type(error).__name__}: {error}"
        done.append(Finding(_name(check), "warning", text))
    return done


def _name(check: Check) -> str:
    return getattr(check, "__name__", "check").replace("_", " ")


def to_data(findings: Sequence[Finding], subject: Subject, *, deep: bool) -> dict[str, Any]:
    """Plain data of a stable form, for `--json`."""
    return {
        "schema": SCHEMA,
        "name": subject.grid.name if subject.grid else None,
        "deep": deep,
        "checks": [
            {"check": one.check, "result": one.result, "found": one.found, "mend": one.mend or None} for one in findings
        ],
        "totals": {result: sum(one.result == result for one in findings) for result in RESULTS},
    }
