"""Events: what is reported and told to MLflow, one JSON line each, and how a spool's files are read by anybody."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.errors import LedgerError

EVENTS_NAME = "events.jsonl"
COMMITTED_NAME = "committed.json"
SpoolEntry = tuple[str, Mapping[str, Any]]
"""What is reported: (kind, data)."""
_NUMBER = re.compile(rb'{"n":(\d+),')


@dataclass(frozen=True, kw_only=True)
class Event:
    """One thing to tell MLflow."""

    number: int
    time_ms: int
    """When it was reported, in milliseconds since 1970: fixed here, so that a repeat says the same."""
    lease: int
    """Number of the driver lease under which it was reported."""
    kind: str
    data: Mapping[str, Any]

    def to_line(self) -> bytes:
        fields = {"n": self.number, "t": self.time_ms, "lease": self.lease, "kind": self.kind, "data": self.data}
        return json.dumps(fields, separators=(",", ":")).encode() + b"\n"

    @classmethod
    def from_line(cls, line: bytes) -> Event:
        fields = json.loads(line)
        return cls(
            number=fields["n"], time_ms=fields["t"], lease=fields["lease"], kind=fields["kind"], data=fields["data"]
        )


def read_after(folder: Path, number: int) -> list[Event]:
    """Events after `number`, read without touching anything (another process may be writing)."""
    return list(_events(folder / EVENTS_NAME, after=number))


def read_committed(folder: Path) -> int:
    """Number of the last event that MLflow has taken; 0 where there is none."""
    try:
        return int(json.loads((folder / COMMITTED_NAME).read_bytes())["number"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0


def _events(path: Path, *, after: int) -> Iterator[Event]:
    """Every whole line after event `after`, told ones skipped unparsed.

    A torn last line (a crash in the middle of a write) was never acknowledged and is left out.
    """
    try:
        lines = path.read_bytes().split(b"\n")
    except (FileNotFoundError, NotADirectoryError):
        return
    except OSError as error:
        raise LedgerError(
            f"the ledger's file {path} cannot be read ({error.strerror or error}); make it readable, or name another "
            "folder of sweeps"
        ) from error
    for line in lines[:-1]:
        begins = _NUMBER.match(line)
        if begins is not None and int(begins[1]) <= after:
            continue
        try:
            event = Event.from_line(line)
        except (ValueError, KeyError, TypeError):
            continue
        if event.number > after:
            yield event
