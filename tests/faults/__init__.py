"""Faults injected into real sweeps, and what became of each: `python -m tests.faults`."""
