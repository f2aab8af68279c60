"""What was seen of the three hosts: facts for the report."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from orchestrator.ledger.records import SlotRecord
from tests.faults.training_log import Line


@dataclass
class Told:
    """All that was seen, for the report."""

    began_s: float = field(default_factory=time.time)
    events: list[tuple[float, str]] = field(default_factory=list)
    lines: dict[str, list[Line]] = field(default_factory=dict)
    slots: dict[str, SlotRecord] = field(default_factory=dict)
    closed_at_cut: dict[str, SlotRecord] = field(default_factory=dict)
    cut_s: float = 0.0
    lost_s: float = 0.0
    """When the cluster had given the host up."""
    back_s: float = 0.0
    second_s: float = 0.0
    """When the second start began."""
    left: list[str] = field(default_factory=list)
    """Processes that outlived `ray down`."""
    unlike: list[str] | None = None
    """Differences from one host; None = not compared."""
    cut_host: str = ""
    error: str = ""
