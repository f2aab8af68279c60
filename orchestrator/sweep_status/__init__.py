"""How far a sweep is: read from its ledger and folder while it runs, without touching anything."""

from orchestrator.sweep_status.look import sweep_status
from orchestrator.sweep_status.model import CellStatus, FailureGroup, RunStatus, SweepStatus

__all__ = ["CellStatus", "FailureGroup", "RunStatus", "SweepStatus", "sweep_status"]
