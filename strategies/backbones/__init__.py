"""Architectures, key-compatible with public checkpoints, and the registry and loader of weights."""
