"""The command line: parse, call one function, print. Everything heavy is imported by the verb that needs it."""

from __future__ import annotations

from orchestrator.cli.main import hsfm_sweep, main

__all__ = ["hsfm_sweep", "main"]
