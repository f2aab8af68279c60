"""Keeps a sweep and its machine in order: `doctor` looks, `gc` removes what nothing needs, `reconcile` closes runs."""
