"""Data sets: facts, readers, the memory-mapped store, splits, label budgets and audit."""
